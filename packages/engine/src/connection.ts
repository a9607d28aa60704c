import { EspalierError, throwIfAborted } from '@espalier/spec';
import type { Calls, FromEngine, Method, Port, StreamItem, ToEngine } from './protocol';
import { fromWire } from './wire-error';

interface Pending {
  resolve(result: never): void;
  reject(error: unknown): void;
  item?(item: StreamItem): void;
}

/**
 * The caller's side of the border: numbers the calls, matches the answers, passes aborts on. The process stays alive for calls under way, not for an
 * engine that idles.
 */
export class Connection {
  private readonly pending = new Map<number, Pending>();
  private nextId = 1;
  private failure: EspalierError | null = null;

  constructor(private readonly port: Port) {
    port.listen((message) => this.receive(message as FromEngine));
    port.unref();
  }

  /**
   * @throws EspalierError what the engine threw, with its code and fix; `aborted` when the signal fired before the call; `closed` or `internal` when the
   * engine is gone
   */
  call<M extends Method>(method: M, params: Calls[M]['params'], options: { transfer?: readonly ArrayBuffer[]; signal?: AbortSignal; item?: (item: StreamItem) => void } = {}): Promise<Calls[M]['result']> {
    if (this.failure) return Promise.reject(this.failure);
    try {
      // A stream reports its abort in its items; anything else that is already aborted need not cross.
      if (!options.item) throwIfAborted(options.signal);
    } catch (error) {
      return Promise.reject(error);
    }
    const id = this.nextId++;
    const abort = () => this.port.post({ kind: 'abort', id });
    return new Promise<Calls[M]['result']>((resolve, reject) => {
      if (this.pending.size === 0) this.port.ref();
      this.pending.set(id, { resolve, reject, item: options.item });
      try {
        this.port.post({ kind: 'call', id, method, params } as ToEngine, options.transfer);
      } catch (cause) {
        this.settle(id);
        reject(new EspalierError('bad_data', `the parameters of ${method} cannot be sent to the engine's thread: ${cause instanceof Error ? cause.message : String(cause)}`, { cause }));
        return;
      }
      if (options.signal?.aborted) abort();
      else options.signal?.addEventListener('abort', abort, { once: true });
    }).finally(() => options.signal?.removeEventListener('abort', abort));
  }

  /** Rejects what is pending and all later calls. The first reason stays. */
  fail(error: EspalierError): void {
    this.failure ??= error;
    for (const id of [...this.pending.keys()]) this.settle(id)?.reject(this.failure);
  }

  private receive(message: FromEngine): void {
    if (message.kind === 'item') this.pending.get(message.id)?.item?.(message.item);
    else if (message.kind === 'done') this.settle(message.id)?.resolve(message.result as never);
    else this.settle(message.id)?.reject(fromWire(message.error));
  }

  private settle(id: number): Pending | undefined {
    const call = this.pending.get(id);
    this.pending.delete(id);
    if (this.pending.size === 0) this.port.unref();
    return call;
  }
}
