import type { Artifacts } from '@espalier/spec';
import { checkedPipeline, type Pipeline } from './pipeline';
import { evaluate, type EvaluateStageOptions } from './stages/evaluate';

/**
 * The same pipeline with a measurement of every policy in it: after the stage that brings the first one, and after each that trains it, a stage `evaluate-NAME` measures the
 * tasks and texts that `options` names. So what each stage gained in its domain, and what it cost elsewhere, stands in the report. Stages inside a branch are not measured.
 *
 * @throws EspalierError `bad_config` as {@link evaluate}
 * @example
 * const line = pipeline(startFrom('SmolLM2-135M-Instruct.Q4_1.gguf'), sft({ dataset: 'demonstrations.jsonl' }), rpt({ dataset: 'arithmetic:split=train', reward: 'numeric' }));
 * await runPipeline(evaluateEach(line, { tasks: ['arithmetic:split=held_out,size=200', 'count_letters:size=200'], perplexity: 'general' }), { outputDir: 'runs/sums' });
 */
export function evaluateEach<Gives extends keyof Artifacts>(line: Pipeline<Gives>, options: Omit<EvaluateStageOptions, 'name'>): Pipeline<Gives | 'metrics'> {
  const stages = line.stages.flatMap((stage) => (stage.gives.includes('policy') ? [stage, evaluate({ ...options, name: `evaluate-${stage.name}` } as EvaluateStageOptions)] : [stage]));
  return checkedPipeline(stages as Parameters<typeof checkedPipeline>[0]) as Pipeline<Gives | 'metrics'>;
}
