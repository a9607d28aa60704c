import type { Command } from 'commander';
import { z } from 'zod';
import { buildCommand } from '../command';
import { bashCompletion } from '../completion/bash';
import { describeCommand } from '../completion/describe-program';
import { fishCompletion } from '../completion/fish';
import { zshCompletion } from '../completion/zsh';

const scripts = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion };
const shape = { shell: z.enum(['bash', 'zsh', 'fish']).describe('bash, zsh or fish') };

/** @param program gives the whole program, whose commands are completed */
export const completionCommand = (program: () => Command) =>
  buildCommand({
    name: 'completion',
    summary: 'a script that completes commands, flags and values in a shell',
    shape,
    argument: { syntax: '<shell>', field: 'shell', help: shape.shell.description ?? '' },
    notes: 'For one session: source <(espalier completion bash), source <(espalier completion zsh), or espalier completion fish | source. For good, put that line into .bashrc, .zshrc or config.fish. With --json: {"shell", "script"}.',
    async run({ shell }, { output }) {
      const script = scripts[shell](describeCommand(program()));
      await output.result({ shell, script });
      output.line(script.trimEnd());
    },
  });
