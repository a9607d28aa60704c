import { EspalierError } from '@espalier/spec';

/** The part of node-llama-cpp 3 that the plugin uses: the package is an optional peer, and its types need not be there. */
export interface LlamaModule {
  getLlama(options: { gpu?: GpuChoice; maxThreads?: number; logLevel?: string; build?: 'never' }): Promise<Llama>;
  /** For a file without a template. */
  resolveChatWrapper(model: LlamaModel): ChatWrapper;
  JinjaTemplateChatWrapper: new (options: { template: string }) => ChatWrapper;
}

/** Where layers run. `false`: the processor alone. */
export type GpuChoice = 'auto' | 'metal' | 'cuda' | 'vulkan' | false;

export type Token = number;

export interface Llama {
  loadModel(options: { modelPath: string; gpuLayers?: number; loadSignal?: AbortSignal }): Promise<LlamaModel>;
  dispose(): Promise<void>;
}

export interface LlamaModel {
  readonly tokenizer: unknown;
  readonly tokens: { readonly bos: Token | null; readonly shouldPrependBosToken: boolean };
  readonly fileInfo: { readonly metadata: { readonly tokenizer?: { readonly chat_template?: string } } };
  readonly trainContextSize: number;
  tokenize(text: string, specialTokens?: boolean, options?: 'trimLeadingSpace'): Token[];
  detokenize(tokens: readonly Token[], specialTokens?: boolean, lastTokens?: readonly Token[]): string;
  isEogToken(token: Token): boolean;
  createContext(options: { contextSize?: number; sequences?: number }): Promise<LlamaContext>;
  dispose(): Promise<void>;
}

export interface LlamaContext {
  readonly contextSize: number;
  getSequence(): LlamaSequence;
  dispose(): Promise<void>;
}

interface NextToken {
  next: { logits?: ReadonlyMap<Token, number>; probabilities?: ReadonlyMap<Token, number> };
}

export interface LlamaSequence {
  /** How many tokens the state holds. */
  readonly nextTokenIndex: number;
  /** Keeps of the state what it shares with the beginning of `tokens`. */
  adaptStateToTokens(tokens: Token[], allowShift?: boolean): Promise<void>;
  eraseContextTokenRanges(ranges: { start: number; end: number }[]): Promise<void>;
  evaluate(tokens: Token[], options: { temperature?: number; seed?: number }): AsyncGenerator<Token, void>;
  controlledEvaluate(input: (Token | [Token, { generateNext: { logits: boolean } }])[]): Promise<(NextToken | undefined)[]>;
}

type ChatItem = { type: 'system' | 'user'; text: string } | { type: 'model'; response: string[] };
export interface ChatWrapper {
  generateContextState(options: { chatHistory: ChatItem[] }): { contextText: { tokenize(tokenizer: unknown): Token[] } };
}

/**
 * Loads node-llama-cpp.
 * @throws EspalierError `backend_unavailable` when it is not installed, or does not load here
 */
export async function loadNodeLlamaCpp(load: () => Promise<unknown> = () => import(/* @vite-ignore */ packageName)): Promise<LlamaModule> {
  try {
    return (await load()) as LlamaModule;
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const missing = (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') && (cause as Error).message.includes(packageName);
    throw new EspalierError('backend_unavailable', missing ? 'espalier-plugin-llama-cpp needs the package node-llama-cpp, which is not installed' : `node-llama-cpp does not load: ${(cause as Error).message}`, { fix: missing ? 'npm install node-llama-cpp' : 'see its own documentation for this platform', cause });
  }
}

/** A variable, so that no bundler looks for what need not be there. */
const packageName = 'node-llama-cpp';
