import type { Command } from 'commander';
import { doctorCommand } from './doctor';
import { evalCommand } from './eval';
import { generateCommand } from './generate';
import { grpoCommand } from './grpo';
import { rptCommand } from './rpt';
import { runCommand } from './run';
import { scoreCommand } from './score';
import { sftCommand } from './sft';

/** Every command, made anew: commander keeps what it parsed. */
export function commands(): Command[] {
  return [doctorCommand(), generateCommand(), scoreCommand(), sftCommand(), grpoCommand(), rptCommand(), runCommand(), evalCommand()];
}
