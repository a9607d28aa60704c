export * from './dataset';
export { cardConfigs, chooseDataFiles, type CardConfig, type DatasetSelection } from './dataset-files';
export { type HubFile } from './files';
export * from './settings';
export * from './snapshot';
export * from './upload';
