import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { commands } from '../commands';
import { createProgram } from '../main';
import { espalier } from '../testing';
import { bashCompletion } from './bash';
import { allCommands, describeCommand } from './describe-program';
import { fishCompletion } from './fish';
import { zshCompletion } from './zsh';

const program = describeCommand(createProgram());
const has = (shell: string) => spawnSync(shell, ['-c', 'true']).status === 0;

/** What bash offers for a line, by its own machinery: the function that `complete` names, in `COMPREPLY`. */
function offered(...words: string[]): string[] {
  const quoted = words.map((word) => `'${word}'`).join(' ');
  const script = `${bashCompletion(program)}
COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}
spec=$(complete -p espalier); [[ "$spec" == *'-F _espalier'* ]] || exit 3
_espalier
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { status, stdout, stderr } = spawnSync('bash', ['--norc', '-s'], { input: script, encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  return stdout.split('\n').filter((line) => line !== '');
}

describe.runIf(has('bash'))('completion in bash', () => {
  it('offers commands, and those of a group', () => {
    expect(offered('espalier', 's')).toEqual(['score', 'sft', 'serve'].filter((name) => program.subcommands.some(({ path }) => path === name)).sort((a, b) => order(a) - order(b)));
    expect(offered('espalier', '')).toEqual(expect.arrayContaining(['sft', 'grpo', 'init', 'plugins', 'completion', '--help']));
    expect(offered('espalier', 'data', 'de')).toEqual(['dedupe', 'decontaminate']);
  });

  it('offers the flags of the command that stands there, wherever it stands', () => {
    expect(offered('espalier', 'grpo', '--num-gen')).toEqual(['--num-generations']);
    expect(offered('espalier', 'sft', '--num-gen')).toEqual([]);
    expect(offered('espalier', 'sft', '--model', 'm', '--dry')).toEqual(['--dry-run']);
    expect(offered('espalier', 'data', 'convert', '--out')).toEqual(['--output']);
  });

  it('offers the values of a flag, also behind a sign, and leaves paths to bash', () => {
    expect(offered('espalier', 'sft', '--lr-scheduler-type', 'cos')).toEqual(['cosine', 'cosine_with_restarts', 'cosine_with_min_lr']);
    expect(offered('espalier', 'sft', '--packing', '')).toEqual(['true', 'false']);
    expect(offered('espalier', 'sft', '--backend', '=', 'na')).toEqual(['native']);
    expect(offered('espalier', 'sft', '--model', '')).toEqual([]); // `-o default`: files
  });
});

const order = (name: string): number => program.subcommands.findIndex(({ path }) => path === name);

describe('completion', () => {
  it('knows every command and every flag that the help shows', () => {
    const known = new Map(allCommands(program).map((command) => [command.path, command.flags.map(({ flag }) => flag)]));
    for (const command of commands(createProgram).flatMap((group) => (group.commands.length > 0 ? group.commands : [group]))) {
      const path = command.parent ? `${command.parent.name()} ${command.name()}` : command.name();
      for (const flag of command.helpInformation().matchAll(/^ {2}(--[a-z][\w-]*)/gm)) expect(known.get(path), `${path} ${flag[1]}`).toContain(flag[1]);
    }
  });

  it('for zsh and fish holds them too; no description breaks out of its quotes', () => {
    const [zsh, fish] = [zshCompletion(program), fishCompletion(program)];
    for (const { path, flags } of allCommands(program)) {
      for (const { flag } of flags) {
        expect(zsh).toContain(`'${flag}:`);
        expect(fish).toContain(` -l ${flag.slice(2)} `);
      }
      expect(zsh).toContain(`'${path}')`);
    }
    for (const line of [...fish.split('\n'), ...zsh.split('\n').filter((text) => text.includes('found=('))]) expect(line.split("'").length % 2).toBe(1);
  });

  it.runIf(has('zsh'))('for zsh parses', () => expect(spawnSync('zsh', ['-n'], { input: zshCompletion(program), encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' }));
  it.runIf(has('fish'))('for fish parses', () => expect(spawnSync('fish', ['--no-execute'], { input: fishCompletion(program), encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' }));

  it('is printed by the command', async () => {
    const printed = await espalier(['completion', 'bash']);
    expect([printed.status, printed.stdout]).toEqual([0, bashCompletion(program)]);
    expect((await espalier(['completion', 'tcsh'])).stderr).toContain('it takes one of bash, zsh, fish');
  });
});
