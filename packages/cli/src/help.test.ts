import { expect, it } from 'vitest';
import { fieldOf } from './command';
import { commands } from './commands';
import { createProgram } from './main';

it('help says of every flag what it is, and every default that its schema has', () => {
  const all = commands(createProgram).flatMap((command) => [command, ...command.commands]);
  expect(all.length).toBeGreaterThan(25);
  const silent: string[] = [];
  for (const command of all) {
    for (const option of command.options.filter(({ hidden }) => !hidden)) {
      const field = fieldOf(option);
      if (!option.description.replace(/\s*\(default .*/, '')) silent.push(`${command.name()} ${option.long}`);
      if (typeof field?.default === 'number') expect(option.description).toContain(`(default ${field.default})`);
    }
  }
  expect(silent).toEqual([]);
});
