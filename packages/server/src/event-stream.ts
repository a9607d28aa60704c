/** A server-sent event with JSON in it. */
export const event = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;

export interface EventStreamSource {
  /** The next piece of the stream; null: it has ended. */
  next(): Promise<string | null>;
  /** Whether `next` would have something to give. */
  hasNews(): boolean;
  /** Called once, when the stream has ended in whatever way. */
  done(how: 'ended' | 'failed' | 'disconnect' | 'stall'): void;
  /** What the client is told when `next` throws. */
  failed(error: unknown): string;
}

/**
 * A stream that is pulled: nothing is made before the reader takes it. A reader that takes nothing for `stallTimeoutMs`, though there is something, is cut
 * off.
 */
export function eventStream(source: EventStreamSource, stallTimeoutMs: number, cut: () => void): { stream: ReadableStream<Uint8Array>; pending(): void } {
  const encoder = new TextEncoder();
  let over = false;
  let reading = false;
  let timer: NodeJS.Timeout | null = null;
  const finish = (how: Parameters<EventStreamSource['done']>[0]) => {
    if (over) return;
    over = true;
    if (timer) clearTimeout(timer);
    source.done(how);
  };
  let controller: ReadableStreamDefaultController<Uint8Array>;
  const pending = () => {
    if (over || reading || timer) return;
    timer = setTimeout(() => {
      finish('stall');
      controller.error(new Error('the reader takes nothing'));
      cut();
    }, stallTimeoutMs);
    timer.unref();
  };
  const stream = new ReadableStream<Uint8Array>(
    {
      start: (given) => void (controller = given),
      async pull() {
        reading = true;
        if (timer) clearTimeout(timer);
        timer = null;
        let piece: string | null;
        try {
          piece = await source.next();
        } catch (error) {
          if (over) return;
          controller.enqueue(encoder.encode(source.failed(error)));
          controller.close();
          finish('failed');
          return;
        } finally {
          reading = false;
        }
        if (over) return;
        if (piece === null) {
          controller.close();
          finish('ended');
          return;
        }
        controller.enqueue(encoder.encode(piece));
        if (source.hasNews()) pending();
      },
      cancel: () => finish('disconnect'),
    },
    { highWaterMark: 0 },
  );
  return { stream, pending };
}
