import { formatNumber } from '@espalier/pipeline';
import type { InsightData, InsightSample } from '@espalier/report';

const signed = (value: number, digits = 3): string => `${value >= 0 ? '+' : ''}${value.toFixed(digits)}`;
const probability = (logp: number): string => Math.exp(logp).toFixed(4);

/** What stands in a terminal's cell: nothing that moves the cursor or breaks the line. */
const shown = (text: string): string => {
  const visible = JSON.stringify(text).slice(1, -1).replace(/[\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return visible.length > 16 ? `${visible.slice(0, 15)}…` : visible;
};

/** A bar to the right for what became likelier, to the left for what became less likely; full at 3 nats. */
function bar(change: number): string {
  const length = Math.min(8, Math.round((Math.abs(change) / 3) * 8));
  return change < 0 ? `${'◀'.repeat(length).padStart(8)}│${' '.repeat(8)}` : `${' '.repeat(8)}│${'▶'.repeat(length).padEnd(8)}`;
}

/** An insight as lines for a terminal. */
export function insightLines({ before, after, samples }: InsightData): string[] {
  return [`${before} → ${after}`, ...samples.flatMap((sample, i) => ['', ...sampleLines(sample, i)])];
}

function sampleLines(sample: InsightSample, index: number): string[] {
  const { tokens, before, after, entropyBefore, entropyAfter } = sample;
  const change = after.reduce((sum, logp, t) => sum + logp - before[t], 0);
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const facts = [
    `log-prob ${signed(change)} nats in all`,
    `entropy ${formatNumber(mean(entropyBefore))} → ${formatNumber(mean(entropyAfter))}`,
    ...(sample.reward === null ? [] : [`reward ${formatNumber(sample.reward)}`]),
    ...(sample.advantage === null ? [] : [`advantage ${signed(sample.advantage)}`]),
    ...Object.entries(sample.components).map(([name, value]) => `${name} ${formatNumber(value)}`),
  ];
  return [
    `text ${index}: ${facts.join(' · ')}`,
    `  ${'token'.padEnd(16)} ${'p before'.padStart(8)} ${'p after'.padStart(8)} ${'Δ log-prob'.padStart(10)} ${' '.repeat(17)} ${'entropy'.padStart(15)}`,
    ...tokens.map((token, t) => `  ${(token === '' ? '(end)' : shown(token)).padEnd(16)} ${probability(before[t]).padStart(8)} ${probability(after[t]).padStart(8)} ${signed(after[t] - before[t]).padStart(10)} ${bar(after[t] - before[t])} ${`${entropyBefore[t].toFixed(3)} → ${entropyAfter[t].toFixed(3)}`.padStart(15)}`),
  ];
}
