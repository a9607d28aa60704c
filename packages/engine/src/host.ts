import { EspalierError } from '@espalier/spec';
import { EngineModel } from './engine-model';
import { transferable, type Calls, type Method, type Port, type StreamItem, type ToEngine } from './protocol';
import { TurnLock } from './turn-lock';
import { toWire } from './wire-error';

interface CallContext {
  signal: AbortSignal;
  item(item: StreamItem): void;
}

/** Reading the weights is shared, changing them is exclusive; the rest needs no turn. */
const turns: Readonly<Record<Method, 'shared' | 'exclusive' | 'none'>> = {
  open: 'exclusive',
  forward: 'shared',
  tapeForward: 'shared',
  tapeBackward: 'shared',
  tapeDispose: 'none',
  addZero: 'none',
  clearGradients: 'none',
  optimStep: 'exclusive',
  mixReference: 'exclusive',
  useEma: 'exclusive',
  publish: 'shared',
  save: 'shared',
  exportModel: 'shared',
  load: 'exclusive',
  generate: 'shared',
  memory: 'none',
  close: 'none',
};

/**
 * The engine's side of the border: answers calls that come through the port, on whatever thread this runs.
 * @param afterStep called after every optimiser step
 */
export function serveEngine(port: Port, afterStep: () => void = () => undefined): void {
  let model: EngineModel | null = null;
  let isClosed = false;
  const lock = new TurnLock();
  const running = new Map<number, AbortController>();

  const opened = () => {
    if (!model) throw new EspalierError('closed', 'the engine is closed');
    return model;
  };

  const handlers: { [M in Method]: (params: Calls[M]['params'], context: CallContext) => Promise<Calls[M]['result']> | Calls[M]['result'] } = {
    open: async (params) => {
      const loaded = await EngineModel.open(params);
      if (isClosed) loaded.dispose();
      else model = loaded;
      return opened().info;
    },
    forward: (params) => opened().training.forward(params),
    tapeForward: (params) => opened().training.tapeForward(params.part, params.needs, params.temperature, params.outputOptions, params.noise),
    tapeBackward: (params) => opened().training.tapeBackward(params.tape, params.grads),
    tapeDispose: (params) => opened().training.tapeDispose(params.tape),
    addZero: () => opened().training.addZero(),
    clearGradients: () => opened().training.clearGradients(),
    optimStep: (params) => {
      const metrics = opened().training.optimStep(params);
      afterStep();
      return metrics;
    },
    mixReference: (params) => opened().mixReference(params.alpha),
    useEma: (params) => opened().useEma(params.on),
    publish: () => opened().publish(),
    save: (params) => opened().save(params.dir),
    exportModel: (params) => opened().exportModel(params.dir, params.dtype, params.merge),
    load: (params) => opened().load(params.dir),
    generate: (params, context) => opened().decodingOf(params.teacher ?? false).generate(params.requests, { ...context, forTraining: params.forTraining, ...(params.progress && { progress: (tokens) => context.item(tokens) }) }),
    memory: () => opened().memory(),
    close: () => {
      isClosed = true;
      for (const controller of running.values()) controller.abort();
      model?.dispose();
      model = null;
      return null;
    },
  };

  const answer = async (id: number, method: Method, params: never) => {
    const controller = new AbortController();
    running.set(id, controller);
    const context: CallContext = {
      signal: controller.signal,
      item: (item) => port.post({ kind: 'item', id, item }, 'tokens' in item ? transferable([item.tokens, item.logps, item.topLogps?.tokens, item.topLogps?.logps]) : undefined),
    };
    const handler = handlers[method] as (params: never, context: CallContext) => Promise<Calls[Method]['result']>;
    const turn = turns[method];
    try {
      const result = await (turn === 'none' ? handler(params, context) : lock.run(turn, () => handler(params, context)));
      const outputs = method === 'forward' ? (result as Calls['forward']['result']) : method === 'tapeForward' ? (result as Calls['tapeForward']['result']).outputs : {};
      port.post({ kind: 'done', id, result }, transferable(Object.values(outputs)));
    } catch (error) {
      port.post({ kind: 'failed', id, error: toWire(error) });
    } finally {
      running.delete(id);
    }
  };

  port.listen((received) => {
    const message = received as ToEngine;
    if (message.kind === 'abort') running.get(message.id)?.abort();
    else void answer(message.id, message.method, message.params as never);
  });
}
