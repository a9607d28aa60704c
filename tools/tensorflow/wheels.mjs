// TensorFlow's libraries and headers, out of wheels of PyPI.
import { createHash } from 'node:crypto';
import { createReadStream, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { BuildError } from './fail.mjs';
import { run } from './run.mjs';

/** What the binding's two source files include, of the 13,000 headers of the wheel. */
const headers = /^tensorflow\/include\/(tensorflow\/c\/|xla\/tsl\/c\/|(tensorflow\/core|tsl)\/platform\/ctstring)/;
const libraries = /^tensorflow\/libtensorflow_(cc|framework)\.so\.2$/;
/** CUDA's libraries keep the folders of their wheels: they find one another by them. */
const cuda = /^nvidia\/[^/]+\/lib\/.*\.so[.\d]*$/;

const python = process.env.PYTHON || 'python3';

async function digest(path) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

/**
 * Downloads one wheel with pip, takes what the binding needs into `target` and drops the rest.
 * @param wheel `{ name, version, sha256? }`; `file`: a wheel that is here already
 */
export async function unpackWheel({ name, version, sha256 }, { target, work, pythonVersion, file, say }) {
  const wheel = file ?? download(`${name}==${version}`, work, pythonVersion, say);
  if (sha256 && !file) {
    const found = await digest(wheel);
    if (found !== sha256) throw new BuildError(`the wheel of ${name} ${version} has the SHA-256 ${found}, not ${sha256}`, 'what the package index gave is not what this script was written for');
  }
  const wanted = `(?:${[libraries, headers, cuda].map(({ source }) => source).join(')|(?:')})`;
  const extract = 'import re,sys,zipfile\nz=zipfile.ZipFile(sys.argv[1])\nw=re.compile(sys.argv[3])\nn=[x for x in z.namelist() if w.search(x) and not x.endswith("/")]\nz.extractall(sys.argv[2],n)\nprint(len(n))';
  const count = Number(run(python, ['-c', extract, wheel, target, wanted], { doing: `unpacking ${name}`, fix: 'install Python 3' }));
  if (count === 0 && name !== 'nvidia-cuda-nvcc-cu12') throw new BuildError(`${file ?? `${name} ${version}`} holds none of the libraries that are wanted`, 'a wheel of tensorflow-cpu or tensorflow for Linux');
  if (!file) rmSync(wheel);
}

function download(requirement, work, pythonVersion, say) {
  const begin = performance.now();
  const platforms = ['manylinux_2_27_x86_64', 'manylinux_2_17_x86_64', 'manylinux2014_x86_64', 'manylinux1_x86_64'].flatMap((platform) => ['--platform', platform]);
  const args = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-cache-dir', '--no-deps', '--only-binary=:all:', '--python-version', pythonVersion, ...platforms, '--dest', work, requirement];
  run(python, args, { doing: `pip download ${requirement}`, env: { TMPDIR: work }, fix: 'TensorFlow comes from PyPI: install Python 3 with pip, or name another interpreter with PYTHON' });
  const found = readdirSync(work).find((entry) => entry.endsWith('.whl'));
  if (!found) throw new BuildError(`pip gave no wheel of ${requirement}`);
  say(`  ${found} after ${((performance.now() - begin) / 1000).toFixed(0)} s`);
  return join(work, found);
}
