import type uPlot from 'uplot';
import { concerns } from '../src/metric-groups';
import type { StageData } from '../src/page-data';
import { colour } from './theme';

export interface Mark {
  step: number;
  /** As the notices are numbered on the page. */
  number: number;
  warning: boolean;
  title: string;
}

/** Every notice of the stages with the number that it goes by. */
export function numberedNotices(stages: readonly StageData[]) {
  let number = 0;
  return stages.flatMap((stage, index) => stage.run.notices.map((notice) => ({ stage: index, number: ++number, ...notice })));
}
export type NumberedNotice = ReturnType<typeof numberedNotices>[number];

/** The notices that are marked on a metric's curve. */
export const marksOf = (notices: readonly NumberedNotice[], metric: string, stages: ReadonlySet<number>): Mark[] =>
  notices.filter((notice) => stages.has(notice.stage) && concerns(notice, metric)).map(({ step, number, level, name }) => ({ step, number, warning: level !== 'note', title: name }));

/** Draws marks over a chart: a dashed line at the step, and a flag with the notice's number. */
export function drawMarks(u: uPlot, marks: readonly Mark[]): void {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  const radius = 7 * ratio;
  ctx.save();
  ctx.font = `600 ${9.5 * ratio}px system-ui, sans-serif`;
  ctx.textAlign = 'center';
  ctx.textBaseline = 'middle';
  for (const { step, number, warning } of marks) {
    const x = Math.round(u.valToPos(step, 'x', true));
    if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
    const ink = colour(warning ? 'warning' : 'note');
    ctx.strokeStyle = ink;
    ctx.lineWidth = ratio;
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top + 2 * radius);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.fillStyle = ink;
    ctx.beginPath();
    ctx.arc(x, bbox.top + radius, radius, 0, 2 * Math.PI);
    ctx.fill();
    ctx.fillStyle = colour('surface');
    ctx.fillText(String(number), x, bbox.top + radius + 0.5 * ratio);
  }
  ctx.restore();
}
