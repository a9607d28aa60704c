export { hubSettings, type HubSettings } from '@espalier/data/hub';
