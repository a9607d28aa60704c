import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
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
 * @throws EspalierError `not_found` when the folder holds no run; what the disk says
 * @example
 * const { path } = await writeReport('runs/sums');
 */
export async function writeReport(dir: string): Promise<{ path: string; bytes: number }> {
  const path = join(dir, reportFile);
  const content = Buffer.from(await reportHtml(dir));
  const temporary = `${path}.tmp-${process.pid}`;
  try {
    const file = await open(temporary, 'w');
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  return { path, bytes: content.length };
}
