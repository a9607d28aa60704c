import { EspalierError, type Environment } from '@espalier/spec';
import { toolEnvironment } from '../tools/tool-environment';
import { calculator } from './calculator';
import { guessingGame, type GuessingGameOptions } from './guessing-game';

const guessOptions = ['max', 'maxGuesses', 'guessCost', 'prompt', 'higher', 'lower', 'unclear'];

/**
 * The environments that can be named without a plugin, each made from options: `calculator` (a row's prompt, with a calculator) and `guess` (a number from 1 to `max`).
 * @example
 * const environment = builtinEnvironments.guess({ max: 20 });
 */
export const builtinEnvironments: Readonly<Record<'calculator' | 'guess', (options?: Readonly<Record<string, unknown>>) => Environment>> = {
  calculator: (options = {}) => {
    refuseOthers('calculator', options, []);
    return toolEnvironment({ name: 'calculator', tools: [calculator()] });
  },
  guess: (options = {}) => {
    refuseOthers('guess', options, guessOptions);
    return guessingGame(options as GuessingGameOptions);
  },
};

function refuseOthers(name: string, options: Readonly<Record<string, unknown>>, known: readonly string[]): void {
  const stray = Object.keys(options).find((option) => !known.includes(option));
  if (stray !== undefined) throw new EspalierError('bad_config', `environment "${name}" has no option \`${stray}\``, { fix: known.length > 0 ? `it takes ${known.join(', ')}` : 'it takes none' });
}
