import { type Artifacts, type MetricsHandle, type PolicyHandle, type RewardHandle, type RowsHandle, type Stage } from '@espalier/spec';
/** Takes rows, gives them sorted, and says how many there were. */
export declare function sortedStage({ descending }?: {
    descending?: boolean;
}): Stage<{
    rows: RowsHandle;
}, {
    rows: RowsHandle;
    metrics: MetricsHandle;
}>;
/** Gives what a line of stages can begin with: rows, and every other artifact in its form. */
export declare function givenStage(artifacts: Artifacts): Stage<Record<never, never>, {
    rows: RowsHandle;
    policy: PolicyHandle;
    reference: PolicyHandle;
    reward: RewardHandle;
    metrics: MetricsHandle;
}>;
