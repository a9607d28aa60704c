export { openSandbox, sharedSandbox, type CheckOptions, type CheckResult, type CodeLanguage, type RunOptions, type RunResult, type Sandbox, type SandboxLimits } from './sandbox';
export type { CallResult, CodeProblem, LimitName, WireValue } from './protocol';
