/** What the person who looks has chosen. */
export interface View {
  /** A stage's number; null: all. */
  stage: number | null;
  /** 0: off, to below 1. */
  smoothing: number;
  log: boolean;
  /** Part of the names of the metrics that are shown. */
  filter: string;
  /** Steps that are shown; null: all. */
  zoom: readonly [number, number] | null;
}

type Changed = ReadonlySet<keyof View | 'theme'>;

/** The view, and who is told when it changes: once a frame, with what has changed. */
export class ViewStore {
  private listeners: ((changed: Changed) => void)[] = [];
  private changed = new Set<keyof View | 'theme'>();
  private frame = 0;

  constructor(public readonly now: View) {}

  set(change: Partial<View>): void {
    for (const [name, value] of Object.entries(change) as [keyof View, never][]) {
      if (this.now[name] === value) continue;
      this.now[name] = value;
      this.tell(name);
    }
  }

  /** Colours are others now. */
  repaint(): void {
    this.tell('theme');
  }

  onChange(listener: (changed: Changed) => void): void {
    this.listeners.push(listener);
  }

  /** Tells at once: before a page is printed. */
  flush(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const { changed } = this;
    this.changed = new Set();
    if (changed.size > 0) for (const listener of this.listeners) listener(changed);
  }

  private tell(name: keyof View | 'theme'): void {
    this.changed.add(name);
    this.frame ||= requestAnimationFrame(() => this.flush());
  }
}
