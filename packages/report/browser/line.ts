import { firstValue, lastValue, type Curve } from './curves';
import { formatNumber } from './format';

/** A curve with how it is drawn and named. */
export interface Line {
  curve: Curve;
  label: string;
  /** Asked for at every drawing: it changes with the theme. */
  colour(): string;
  dashed: boolean;
}

/** A plot of some lines in words. */
export function description(metric: string, lines: readonly Line[]): string {
  const of = ({ curve, label }: Line) => {
    const finite = curve.values.filter(Number.isFinite);
    const least = finite.reduce((a, b) => Math.min(a, b), Infinity);
    const greatest = finite.reduce((a, b) => Math.max(a, b), -Infinity);
    return `${lines.length > 1 ? `${label}: ` : ''}${curve.total} points from step ${curve.steps[0]} to ${curve.steps[curve.steps.length - 1]}, first ${formatNumber(firstValue(curve.values))}, last ${formatNumber(lastValue(curve.values))}, between ${formatNumber(least)} and ${formatNumber(greatest)}`;
  };
  return `${metric}. ${lines.map(of).join('; ')}. Arrow keys read its points.`;
}
