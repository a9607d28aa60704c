// What the compiler says of wrong options of stages.
import { dpo, evaluate, grpo, ppo, rpt, sft, startFrom } from '..';

const dataset = 'rows.jsonl';
const text = String(process.argv[2]);

// All right: names with a weight or options behind them, objects, functions, text that is known when it runs only; lists in constants.
rpt({ dataset, reward: ['numeric', 'exact=0.5', 'length:max_length=8,weight=0.2', { name: 'cosine', weight: 0.1, options: { maxLength: 8 } }, { specVersion: 'v1', name: 'mine', score: async () => [1] }], rewardWeights: [1, 1, 1, 1, 1] });
grpo({ dataset, reward: text, loraRank: 8, loraTargetModules: ['q_proj'], parameterGroups: [{ match: 'norm', weightDecay: 0 }] });
evaluate({ dataset, reward: [text, 'accuracy'], stop: ['\n'] });
rpt({ dataset, reward: 'numeric', algorithm: 'grpo' });
rpt({ dataset, objective: 'next-token', algorithm: 'online-dpo', minEntropy: 1, beta: 0.1 });

// @ts-expect-error Type '"numerc"' is not assignable to type … Did you mean '"numeric"'?
rpt({ dataset, reward: 'numerc' });

// @ts-expect-error Type '"acuracy=0.5"' is not assignable to type … Did you mean '"accuracy=0.5"'?
grpo({ dataset, reward: ['numeric', 'acuracy=0.5'] });

// @ts-expect-error Type '"lenght"' is not assignable to type … Did you mean '"length"'?
evaluate({ dataset, reward: { name: 'lenght', options: { maxLength: 8 } } });

// @ts-expect-error Type 'string' is not assignable to type 'number'.
ppo({ dataset, reward: [{ name: 'length', options: { maxLength: 'long' } }] });

// @ts-expect-error 'maxLenght' does not exist in type 'LengthOptions'. Did you mean to write 'maxLength'?
ppo({ dataset, reward: [{ name: 'length', options: { maxLenght: 8 } }] });

// @ts-expect-error Type '"gropo"' is not assignable to type '"grpo" | "rloo" | "reinforce" | "ppo" | "online-dpo"'. Did you mean '"grpo"'?
rpt({ dataset, reward: 'numeric', algorithm: 'gropo' });

// @ts-expect-error Type 'string' is not assignable to type 'number'.
sft({ dataset, maxSteps: 'many' });

// @ts-expect-error Type '"cosin"' is not assignable to type '"linear" | "cosine" | "cosine_with_restarts" | "cosine_with_min_lr" | "polynomial" | "constant" | "constant_with_warmup" | "inverse_sqrt" | "warmup_stable_decay" | undefined'. Did you mean '"cosine"'?
sft({ dataset, lrSchedulerType: 'cosin' });

// @ts-expect-error 'maxStep' does not exist in type 'DpoStageOptions'. Did you mean to write 'maxSteps'?
dpo({ dataset, maxStep: 3 });

// @ts-expect-error 'numGeneration' does not exist in type
grpo({ dataset, reward: 'numeric', numGeneration: 8 });

// @ts-expect-error 'outputDir' does not exist in type 'SftStageOptions'.
sft({ dataset, outputDir: 'runs/x' });

// @ts-expect-error Argument of type 'number' is not assignable to parameter of type 'string'.
startFrom(7);
