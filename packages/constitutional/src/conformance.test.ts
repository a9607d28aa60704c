import { describeJudge, describeRewardFunction } from '@espalier/testkit';
import { feedbackReward } from './feedback-reward';
import { preferenceJudge, type PreferenceJudgeOptions } from './preference-judge';
import { fivePrinciples as constitution, scripted } from './test-support';

/** The two options of a question, as the judge's model is shown them. */
function optionsOf(prompt: string): [string, string] {
  const [, a, b] = /\(A\) ([\s\S]*?)\n\(B\) ([\s\S]*?)\n\n[^\n]*(?:\n|$)/.exec(prompt.slice(prompt.lastIndexOf('Options:')))!;
  return [a, b];
}
/** Prefers the longer option by a nat, and the letter (A) by three. */
const byLogps = () => scripted({ answer: () => 'because it is longer', logps: (prompt) => { const [a, b] = optionsOf(prompt); return [3 + Math.sign(a.length - b.length), 0]; } });
const byLetters = () => scripted({ answer: (prompt) => { const [a, b] = optionsOf(prompt); return a.length > b.length ? 'The answer is (A).' : a.length < b.length ? '(B)' : 'Both are fine.'; } });

const variants: Record<string, PreferenceJudgeOptions> = {
  'by log-probs': { constitution },
  'by three principles, in plain text': { constitution, principlesPerLabel: 3, format: 'plain' },
  'with reasoning, clamped': { constitution, chainOfThought: true },
};
for (const [title, options] of Object.entries(variants)) describeJudge(() => preferenceJudge(byLogps(), options), { title: `constitutional judge ${title}`, swapTolerance: 1e-9 });
describeJudge(() => preferenceJudge(byLogps(), { constitution, orders: 'random' }), { title: 'constitutional judge in one order, drawn', swapTolerance: null });
describeJudge(() => preferenceJudge(byLetters(), { constitution }), { title: 'constitutional judge by letters', swapTolerance: 0 });

/** The score is the number of the answer's letters, at most 10. */
const scoreOf = (prompt: string) => Math.min(10, /Answer: ([\s\S]*?)\n\n/.exec(prompt)![1].length + 1);
for (const [title, model] of Object.entries({
  'by log-probs': () => scripted({ logps: (prompt, options) => options.map((_, i) => -Math.abs(i + 1 - scoreOf(prompt))) }),
  'by text': () => scripted({ answer: (prompt) => (scoreOf(prompt) === 1 ? 'hard to say' : `(${scoreOf(prompt)})`) }),
})) {
  describeRewardFunction(() => feedbackReward(model(), { criterion: 'A good answer is long.' }), { title: `AI feedback ${title}` });
  describeRewardFunction(() => feedbackReward(model(), { constitution }), { title: `AI feedback ${title}, by a constitution` });
}
