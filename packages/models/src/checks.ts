export { goldenChecks } from './golden-checks';
