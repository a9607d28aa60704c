export { createProgram, main, run } from './main';
export { watchPipeline } from './watch-pipeline';
