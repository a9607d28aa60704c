import type { Command } from 'commander';
import { chatCommand } from './chat';
import { completionCommand } from './completion';
import { constitutionalCommand } from './constitutional';
import { dataCommand } from './data';
import { distillCommand } from './distill';
import { doctorCommand } from './doctor';
import { evalCommand } from './eval';
import { generateCommand } from './generate';
import { grpoCommand, reinforceCommand, rlooCommand } from './grpo';
import { initCommand } from './init';
import { insightCommand } from './insight';
import { pluginsCommand } from './plugins';
import { ppoCommand } from './ppo';
import { cpoCommand, dpoCommand, ktoCommand, onlineDpoCommand, orpoCommand } from './preferences';
import { prmCommand, rewardCommand } from './reward';
import { rptCommand } from './rpt';
import { runCommand } from './run';
import { scoreCommand } from './score';
import { serveCommand } from './serve';
import { sftCommand } from './sft';
import { viewCommand } from './view';

/** Every command, made anew: commander keeps what it parsed. */
/** @param program the program that they become part of: what completion describes */
export function commands(program: () => Command): Command[] {
  return [
    doctorCommand(), generateCommand(), scoreCommand(),
    sftCommand(), dpoCommand(), ktoCommand(), cpoCommand(), orpoCommand(), rewardCommand(), prmCommand(),
    onlineDpoCommand(), ppoCommand(), grpoCommand(), rlooCommand(), reinforceCommand(), rptCommand(), distillCommand(), constitutionalCommand(),
    initCommand(), runCommand(), evalCommand(), insightCommand(), viewCommand(), serveCommand(), chatCommand(), dataCommand(), pluginsCommand(), completionCommand(program),
  ];
}
