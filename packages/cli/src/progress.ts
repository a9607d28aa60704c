import cliProgress from 'cli-progress';

/** Progress on standard error: a bar with rate and time left on a terminal, a line now and then elsewhere. */
export interface Progress {
  update(done: number, note?: string): void;
  /** A line of its own, above the bar. */
  note(text: string): void;
  stop(): void;
}

/** Seconds for people: `12 s`, `3 min 05 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  if (seconds > 0 && seconds < 10) return `${seconds < 1 ? Number(seconds.toPrecision(1)) : seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, '0')} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')} min`;
}

const rateText = (rate: number, unit: string): string => (rate >= 1 || rate === 0 ? `${rate.toFixed(rate >= 100 ? 0 : 1)} ${unit}/s` : `${(1 / rate).toFixed(1)} s/${unit}`);

export interface ProgressOptions {
  /** What is counted: `step`, `row`, `token`. */
  unit: string;
  total: number;
  /** Where it begins, for a run that was resumed. */
  start?: number;
  quiet?: boolean;
  /** When the work began, by `performance.now()`. Default: now. */
  began?: number;
  /** Seconds between lines where there is no terminal. Default 5. */
  every?: number;
}

export function startProgress(title: string, options: ProgressOptions): Progress {
  if (options.quiet) return { update: () => undefined, note: (text) => void process.stderr.write(`${text}\n`), stop: () => undefined };
  const { unit, total } = options;
  const start = options.start ?? 0;
  const began = options.began ?? performance.now();
  const measure = (done: number): { rate: number; left: string } => {
    const seconds = (performance.now() - began) / 1000;
    const rate = seconds > 0 ? (done - start) / seconds : 0;
    return { rate, left: rate > 0 ? duration((total - done) / rate) : '?' };
  };
  if (process.stderr.isTTY) {
    const bar = new cliProgress.SingleBar(
      { stream: process.stderr, hideCursor: true, clearOnComplete: false, format: `${title} {bar} {value}/{total} · {speed} · {left} left{info}`, barsize: 24, noTTYOutput: false, gracefulExit: false },
      cliProgress.Presets.shades_classic,
    );
    bar.start(total, start, { speed: '…', left: '?', info: '' });
    let info = '';
    return {
      update(done, note) {
        if (note !== undefined) info = note ? ` · ${note}` : '';
        const { rate, left } = measure(done);
        bar.update(Math.min(done, total), { speed: rateText(rate, unit), left, info });
      },
      note(text) {
        process.stderr.write(`\r\u001b[2K${text}\n`);
        bar.updateETA();
      },
      stop: () => bar.stop(),
    };
  }
  let last = -Infinity;
  let printed = -1;
  return {
    update(done, note) {
      const now = performance.now();
      if (done === printed || (done < total && now - last < (options.every ?? 5) * 1000)) return;
      [last, printed] = [now, done];
      const { rate, left } = measure(done);
      process.stderr.write(`${title} ${done}/${total} · ${rateText(rate, unit)}${done < total ? ` · ${left} left` : ''}${note ? ` · ${note}` : ''}\n`);
    },
    note: (text) => void process.stderr.write(`${text}\n`),
    stop: () => undefined,
  };
}
