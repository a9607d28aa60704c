/** What follows the last of the delimiters; null where a completion has none of them. The first delimiter that occurs decides (TRL: `reasoning_accuracy_reward`). */
export function afterReasoning(text: string, delimiters: readonly string[] = ['</think>']): string | null {
  const found = delimiters.find((delimiter) => text.includes(delimiter));
  return found === undefined ? null : text.slice(text.lastIndexOf(found) + found.length);
}

/** What stands in the last `\boxed{…}`, with those that stand close before it; null where there is none that is closed. */
export function boxed(text: string): string | null {
  const found: { start: number; end: number; content: string }[] = [];
  const open: { start: number; from: number; box: boolean }[] = [];
  for (const match of text.matchAll(/\\boxed\s*\{|\{|\}/g)) {
    if (match[0] !== '}') {
      open.push({ start: match.index, from: match.index + match[0].length, box: match[0] !== '{' });
      continue;
    }
    const brace = open.pop();
    if (!brace?.box) continue;
    let content = text.slice(brace.from, match.index).trim();
    while (found.length > 0 && found[found.length - 1].start > brace.start) ({ content } = found.pop()!); // a box in a box
    found.push({ start: brace.start, end: match.index + 1, content });
  }
  if (found.length === 0) return null;
  const parts = [found[found.length - 1]];
  for (let i = found.length - 2; i >= 0; i--) {
    const between = text.slice(found[i].end, parts[0].start);
    const near = between.length < 10 || (between.length < 70 && found[i].content !== parts[0].content && /\b(?:and|or)\b|[,;]/.test(between));
    if (!near) break;
    if (found[i].content !== parts[0].content) parts.unshift(found[i]);
    else parts[0] = { ...parts[0], start: found[i].start };
  }
  return parts.map(({ content }) => content).join(',');
}

const environment = String.raw`(?:\$\$([\s\S]{1,800}?)\$\$|\\\[([\s\S]{1,800}?)\\\]|(?<![\\\d])\$((?:\\\$|[^\n$]){1,800}?)(?<!\\)\$|\\\(([^\n]{1,800}?)\\\)|(-?\\frac\{-?\d+(?:[.,]\d+)?\}\{-?\d+(?:[.,]\d+)?\}))`;
const anchored = [
  new RegExp(String.raw`final answer is:?\s*${environment}\.?\s?I hope`, 'gi'),
  new RegExp(String.raw`final answer[\s\S]{0,100}?\s+is:?\s*${environment}`, 'gi'),
  new RegExp(String.raw`answer:[\s\S]{0,50}?${environment}`, 'gi'),
  new RegExp(String.raw`answer[\s\S]{0,50}?${environment}`, 'gi'),
];
const anyEnvironment = new RegExp(environment, 'g');

const last = (text: string, pattern: RegExp): string | null => {
  const found = [...text.matchAll(pattern)].at(-1);
  return found ? (found.slice(1).find((group) => group !== undefined) ?? null) : null;
};

/** An answer in LaTeX as math-verify looks for it with TRL's settings: boxed, or in an environment behind the word "answer". */
export function latexAnswer(text: string): string | null {
  const inBox = boxed(text);
  if (inBox !== null) return inBox;
  for (const pattern of anchored) {
    const found = last(text, pattern);
    if (found !== null) return found;
  }
  return null;
}

const number = String.raw`[-−]?[$€£]?\s?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?(?:\s?\/\s?\d+)?(?:\s?%)?`;

/**
 * Where a completion may have its answer, the likeliest place first: LaTeX that is boxed or announced, `<answer>` tags, what is announced as the answer, the whole of it,
 * its last LaTeX, the right side of its last equation, its last number.
 */
export function answerCandidates(completion: string): string[] {
  const text = completion.trim();
  const found: (string | null)[] = [latexAnswer(text)];
  if (found[0] === null) {
    found.push(last(text, /<answer>([\s\S]*?)<\/answer>/gi));
    found.push(last(text, /\banswer(?:\s+is|\s*:|\s*=)\s*:?\s*([^\n]+?)(?=\.\s|\.?$|\n)/gim), text.length <= 200 ? text : null, last(text, anyEnvironment));
    found.push(last(text, /=\s*([^=\n]+?)(?=\.\s|\.?$|\n)/gm), last(text, new RegExp(`((?<![\\d.,\\w)\\]])${number}|${number.slice(String.raw`[-−]?`.length)})`, 'g')));
  }
  return found.filter((candidate): candidate is string => candidate !== null && candidate.trim() !== '');
}
