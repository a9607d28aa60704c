import { join } from 'node:path';
import { writeFileDurably } from '@espalier/spec/files';
import { pageAssets } from './page-assets';
import { readReport } from './read-report';
import { renderPage } from './render-page';

export const reportFile = 'report.html';

/**
 * The page of a run, made of what its folder holds now.
 * @throws EspalierError `not_found` when the folder holds no run
 */
export async function reportHtml(dir: string): Promise<string> {
  return renderPage(await readReport(dir), await pageAssets());
}

/**
 * Writes `report.html` into a run's folder: aside first, flushed, then renamed, so that at any instant the old page or the new one is there.
 * @returns where it is, and its size
 * @throws EspalierError `not_found` when the folder holds no run; `no_space`, `io`
 * @example
 * const { path } = await writeReport('runs/sums');
 */
export async function writeReport(dir: string): Promise<{ path: string; bytes: number }> {
  const path = join(dir, reportFile);
  const content = Buffer.from(await reportHtml(dir));
  await writeFileDurably(path, content);
  return { path, bytes: content.length };
}
