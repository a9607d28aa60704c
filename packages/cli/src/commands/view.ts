import { serveReport } from '@espalier/report';
import { z } from 'zod';
import { buildCommand } from '../command';
import { openBrowser } from '../open-browser';

const shape = {
  run: z.string().min(1).describe('folder of a run, such as runs/sums: of a trainer or of a pipeline'),
  port: z.int().min(0).max(65535).default(0).describe('0: any that is free'),
  open: z.boolean().default(true).describe('open it in the browser; --no-open only prints the address'),
};

export const viewCommand = () =>
  buildCommand({
    name: 'view',
    summary: 'look at a run in the browser',
    shape,
    argument: { syntax: '<run>', field: 'run', help: shape.run.description ?? '' },
    interrupt: 'closing the report',
    notes:
      "Served on loopback until Ctrl-C, and made anew when the run's files change: reload the page of a run under way. A run leaves the same page as report.html in its folder. With --json one object is printed when it listens, {\"url\"}, and nothing is opened.",
    async run(values, { output, signal }) {
      const server = await serveReport(values.run, { port: values.port, signal });
      await output.result({ url: server.url });
      output.line(`${values.run}: ${server.url}`);
      if (values.open && !output.json) openBrowser(server.url);
      await server.closed;
    },
  });
