export * from './curriculum';
export { curriculumByRef, isCurriculumRef } from './curriculum-ref';
export { commonTaskOptions, defineTaskFamily, isTaskFamily, type Problem, type TaskDataset, type TaskFamily, type TaskFamilyDefinition, type TaskOptions, type TaskRow } from './family';
export { taskFamilies, taskFamily } from './families';
export { taskMixture, taskMixtureOptions, type TaskMixtureOptions } from './mixture-task';
export { taskReward } from './task-reward';
