import { definePlugin } from '@espalier/spec';
import { llamaCppModel, type LlamaCppOptions } from './llama-cpp-model';

export { llamaCppModel, type LlamaCppModel, type LlamaCppOptions } from './llama-cpp-model';

/** The plugin: a text model named `llama-cpp`, with the options of {@link llamaCppModel}. Judges are prompts over it: `preferenceJudge` of `@espalier/constitutional` takes it. */
export const plugin = definePlugin({
  name: 'espalier-plugin-llama-cpp',
  textModels: { 'llama-cpp': (options?: Record<string, unknown>) => llamaCppModel((options ?? {}) as LlamaCppOptions) },
});
