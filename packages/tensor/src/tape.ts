import { EspalierError } from '@espalier/spec';
import { add, engine, scalar, Variable, zerosLike } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { addInPlace } from './ops/add-in-place';
import { insideWalker, looksAt, sameData, worksInPlace } from './ops/kernel';
import type { GradientClosure } from './ops/kernel';
import { together } from './together';

/** What tfjs records of one kernel call. */
interface TapeNode {
  kernelName: string;
  inputs: Record<string, Tensor>;
  outputs: Tensor[];
  saved?: Tensor[];
  gradient?: (dys: (Tensor | null)[]) => Record<string, GradientClosure>;
}

/** What tfjs does with the tensors that a gradient will need: an own property of the engine takes the place of its method. */
interface SavingEngine {
  saveTensorsForBackwardMode?(tensors: readonly Tensor[]): Tensor[];
}

/** The part of tfjs's engine state that recording needs. */
interface RecordingState {
  activeTape: TapeNode[] | null;
  gradientDepth: number;
  kernelDepth: number;
}

/** Takes over a parameter's gradient: it must keep or dispose the tensor. */
export type GradientSink = (variable: Variable, gradient: Tensor) => void;

/** A recorded forward pass. It holds the tensors that its backward pass needs until `backward` or `dispose`. */
export interface Tape {
  /** What `forward` returned. They live as long as the tape. */
  readonly outputs: readonly Tensor[];
  /**
   * Walks the tape back from the derivative of the loss with respect to each output (null: 0; the caller keeps them). Each trainable variable's
   * gradient goes to `sink` as soon as it is final. Saved tensors and incoming gradients are freed on the way; afterwards the tape is spent.
   */
  backward(outputGrads: readonly (Tensor | null)[], sink: GradientSink): void;
  /** Frees a tape whose backward pass is not wanted. Harmless on a spent one. */
  dispose(): void;
}

/**
 * Records a forward pass on tfjs's tape, to be differentiated later: forward and backward are two calls, and several recorded passes may be pending.
 * Everything that `forward` makes and does not return is disposed, as in a `tidy`. Variables with `trainable` set get gradients. Its kernels run {@link together}, and so do those of `backward`.
 *
 * tfjs's own `grads` keeps every saved tensor and every incoming gradient until the end; this frees each as its gradient runs, and adds gradients in place.
 *
 * @throws EspalierError `internal` inside another recording
 * @example
 * const tape = record(() => [square(weight)]);
 * tape.backward([onesLike(tape.outputs[0])], (variable, gradient) => { …; gradient.dispose(); });
 */
export function record(forward: () => Tensor[]): Tape {
  const state = engine().state as unknown as RecordingState;
  if (state.gradientDepth !== 0 || state.kernelDepth !== 0) throw new EspalierError('internal', 'record() was called inside another recording');
  const nodes: TapeNode[] = [];
  const outer = state.activeTape;
  let outputs: Tensor[] = [];
  engine().startScope('record');
  state.activeTape = nodes;
  state.gradientDepth = 1;
  // tfjs clones what it saves: a kernel call and a node on the tape for each, of which nobody needs either.
  const saving = engine() as unknown as SavingEngine;
  saving.saveTensorsForBackwardMode = (tensors) => tensors.map((tensor) => engine().keep(sameData(tensor)));
  try {
    outputs = together(forward);
    if (outputs.some((output) => output instanceof Variable)) throw new EspalierError('internal', 'a recorded forward pass returned a variable');
    for (const output of outputs) engine().keep(output);
  } catch (error) {
    for (const node of nodes) free(node);
    throw error;
  } finally {
    delete saving.saveTensorsForBackwardMode;
    state.gradientDepth = 0;
    state.activeTape = outer;
    engine().endScope();
  }
  return new RecordedTape(nodes, outputs);
}

/**
 * Gradient checkpointing (Chen et al. 2016): runs `body` on `x` without keeping what its backward pass would need; that pass computes it again first. Of the
 * whole body, a tape then holds `x` alone. Outside {@link record} it is just `body(x)`.
 *
 * `body` must depend on `x`, variables and constants alone, and give the same when it is called again. Constants must live until the backward pass.
 * @example
 * const tape = record(() => [checkpoint((h) => block2(h), checkpoint((h) => block1(h), x))]);
 */
export function checkpoint(body: (x: Tensor) => Tensor, x: Tensor): Tensor {
  const state = engine().state as unknown as RecordingState;
  if (state.gradientDepth === 0 || !state.activeTape) return body(x);
  const outer = state.activeTape;
  const inner: TapeNode[] = []; // tells which variables the body reads
  state.activeTape = inner;
  let y: Tensor;
  try {
    y = body(x);
  } finally {
    state.activeTape = outer;
    for (const node of inner) free(node);
  }
  const variables = new Map<string, Variable>();
  for (const node of inner) for (const input of Object.values(node.inputs)) if (isTrainable(input)) variables.set(String(input.id), input);
  const node: TapeNode = { kernelName: 'EspalierCheckpoint', inputs: { x, ...Object.fromEntries(variables) }, outputs: [y], saved: [engine().keep(x.clone())] };
  node.gradient = ([dy]) => {
    const leaf = engine().makeVariable(node.saved![0]) as Variable; // shares the numbers
    const gradients = new Map<number, Tensor>();
    try {
      record(() => [body(leaf)]).backward([dy], (variable, gradient) => {
        gradients.set(variable.id, gradient.clone()); // belongs to the walker's scope: what it does not ask for goes with it
        gradient.dispose();
      });
    } finally {
      leaf.dispose();
    }
    const of = (variable: Variable) => () => gradients.get(variable.id) ?? zerosLike(variable);
    return { x: of(leaf), ...Object.fromEntries([...variables].map(([id, variable]) => [id, of(variable)])) };
  };
  outer.push(node);
  return y;
}

/** Runs `body` off the tape inside a recording: what it returns is a constant there, and nothing is kept for a backward pass. Elsewhere it is just `body()`. */
export function offTape<T>(body: () => T): T {
  const state = engine().state as unknown as RecordingState;
  const depth = state.gradientDepth;
  state.gradientDepth = 0;
  try {
    return body();
  } finally {
    state.gradientDepth = depth;
  }
}

class RecordedTape implements Tape {
  constructor(
    private nodes: TapeNode[] | null,
    readonly outputs: readonly Tensor[],
  ) {}

  backward(outputGrads: readonly (Tensor | null)[], sink: GradientSink): void {
    const nodes = this.nodes;
    if (!nodes) throw new EspalierError('internal', 'the tape was already walked or disposed');
    this.outputs.forEach((output, i) => {
      const gradient = outputGrads[i];
      if (gradient && gradient.shape.join() !== output.shape.join()) throw new EspalierError('internal', `output ${i} is [${output.shape}], its gradient [${gradient.shape}]`);
    });
    this.nodes = null;
    const gradients = new GradientMap();
    try {
      this.outputs.forEach((output, i) => {
        const gradient = outputGrads[i];
        if (gradient) gradients.add(output.id, engine().keep(gradient.clone()));
      });
      const wanted = path(nodes, new Set(this.outputs.filter((_, i) => outputGrads[i]).map((output) => output.id)));
      const firstUse = new Map<number, Variable[]>(); // the node after whose gradient a variable's own is final
      const seen = new Set<number>();
      nodes.forEach((node, i) => {
        if (!wanted.nodes[i]) return free(node);
        for (const input of Object.values(node.inputs)) {
          if (!isTrainable(input) || seen.has(input.id)) continue;
          seen.add(input.id);
          firstUse.set(i, [...(firstUse.get(i) ?? []), input]);
        }
      });
      together(() => {
        for (let i = nodes.length - 1; i >= 0; i--) {
          if (wanted.nodes[i]) step(nodes[i], wanted.tensors, gradients);
          for (const variable of firstUse.get(i) ?? []) {
            const gradient = gradients.take(variable.id);
            if (gradient) sink(variable, gradient);
          }
        }
      });
    } finally {
      for (const node of nodes) free(node);
      gradients.dispose();
      for (const output of this.outputs) output.dispose();
    }
  }

  dispose(): void {
    if (!this.nodes) return;
    for (const node of this.nodes) free(node);
    for (const output of this.outputs) output.dispose();
    this.nodes = null;
  }
}

const isTrainable = (x: Tensor): x is Variable => x instanceof Variable && x.trainable;

function free(node: TapeNode): void {
  for (const tensor of node.saved ?? []) tensor.dispose();
  node.saved = undefined;
}

/** The nodes on a path from a trainable variable to a wanted output, and the tensors that depend on a trainable variable. */
function path(nodes: readonly TapeNode[], wantedOutputs: Set<number>): { nodes: boolean[]; tensors: Set<number> } {
  const tensors = new Set<number>();
  const on = nodes.map((node) => {
    let any = false;
    for (const input of Object.values(node.inputs)) {
      if (isTrainable(input)) tensors.add(input.id);
      any ||= tensors.has(input.id);
    }
    if (any) for (const output of node.outputs) tensors.add(output.id);
    return any;
  });
  const leading = new Set(wantedOutputs);
  for (let i = nodes.length - 1; i >= 0; i--) {
    on[i] &&= nodes[i].outputs.some((output) => leading.has(output.id));
    if (on[i]) for (const input of Object.values(nodes[i].inputs)) leading.add(input.id);
  }
  return { nodes: on, tensors };
}

const sameShape = ({ shape: a }: Tensor, { shape: b }: Tensor) => a.length === b.length && a.every((size, i) => size === b[i]);

/** Runs one node's gradient, frees what only it needed, and adds the results to the gradients of its inputs. */
function step(node: TapeNode, wanted: Set<number>, gradients: GradientMap): void {
  const dys = node.outputs.map((output) => gradients.take(output.id));
  const results: { id: number; dx: Tensor }[] = [];
  try {
    if (dys.every((dy) => dy === null)) return;
    if (!node.gradient) throw new EspalierError('unsupported', `the kernel ${node.kernelName} has no gradient`, { fix: 'register one with tfjs, or keep it out of what is differentiated' });
    engine().startScope(node.kernelName);
    try {
      const owned = [...dys, ...(node.saved ?? [])].map((tensor) => tensor?.id);
      // tfjs makes zeros for what is null: as many as the output has numbers, even where nobody looks at them.
      const given = dys.map((dy, i) => dy ?? (looksAt(node.kernelName, i) ? null : scalar(0)));
      const closures = insideWalker(() => node.gradient!(given));
      for (const [name, input] of Object.entries(node.inputs)) {
        if (!wanted.has(input.id)) continue;
        const closure = closures[name];
        const existing = closure.into ? gradients.takeForWriting(input.id) : null;
        const dx = insideWalker(() => (existing ? closure.into!(existing) : closure()));
        existing?.dispose();
        if (dx.dtype !== 'float32' || !sameShape(dx, input)) {
          throw new EspalierError('internal', `the gradient of ${node.kernelName} for "${name}" is ${dx.dtype} [${dx.shape}], not float32 [${input.shape}]`);
        }
        const mine = owned.includes(dx.id) ? sameData(dx) : dx; // a gradient function may hand back what it was given
        owned.push(mine.id);
        results.push({ id: input.id, dx: engine().keep(mine) });
      }
    } finally {
      engine().endScope();
    }
  } catch (error) {
    for (const { dx } of results) dx.dispose();
    throw error;
  } finally {
    for (const dy of dys) dy?.dispose();
    free(node);
  }
  for (const { id, dx } of results) gradients.add(id, dx);
}

/** Gradients by tensor id, each owned by the map until taken. */
class GradientMap {
  private readonly map = new Map<number, Tensor>();

  /** Takes over `gradient`. */
  add(id: number, gradient: Tensor): void {
    const existing = this.map.get(id);
    this.map.set(id, existing ? accumulated(existing, gradient) : gradient);
  }

  take(id: number): Tensor | null {
    const gradient = this.map.get(id) ?? null;
    this.map.delete(id);
    return gradient;
  }

  /** A gradient that nobody else holds, on a backend that writes in place. */
  takeForWriting(id: number): Tensor | null {
    const gradient = this.map.get(id);
    return gradient && worksInPlace() && onlyHolder(gradient) ? this.take(id) : null;
  }

  dispose(): void {
    for (const gradient of this.map.values()) gradient.dispose();
    this.map.clear();
  }
}

/** `a + b`, written into whichever of them nobody else holds. Disposes both. */
function accumulated(a: Tensor, b: Tensor): Tensor {
  let total: Tensor;
  if (worksInPlace() && onlyHolder(a)) total = addInPlace(a, b);
  else if (worksInPlace() && onlyHolder(b)) total = addInPlace(b, a);
  else total = add(a, b);
  engine().keep(total);
  a.dispose();
  b.dispose();
  return total;
}

/** Whether no other tensor shares the data of this one: gradient functions hand out views of what came in. */
const onlyHolder = (x: Tensor): boolean => engine().backend.refCount(x.dataId) === 1;
