/** A package of the Python package index in an environment of its own, kept between runs; or why it is not to be had. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const INSTALL_LIMIT_MS = 180_000

export interface PythonPackage {
  /** Of the environment; also its directory's name. */
  readonly name: string
  /** With its version: `koyeb-sdk==1.5.5`. */
  readonly requirement: string
  readonly module: string
}

/** The vendors' own. */
export const FLOW: PythonPackage = { name: 'flow-python', requirement: 'flow-compute==3.28.2', module: 'flow' }
export const HYPEMAN_SDK: PythonPackage = { name: 'hypeman-python', requirement: 'hypeman==0.28.0', module: 'hypeman.lib' }
export const KOYEB_SDK: PythonPackage = { name: 'koyeb-python', requirement: 'koyeb-sdk==1.5.5', module: 'koyeb.api' }

/** The interpreter that knows the package, brought now or earlier; or the reason why there is none. */
export function pythonWith({ name, requirement, module }: PythonPackage): { readonly python: string } | { readonly reason: string } {
  const venv = fileURLToPath(new URL(`../../.berth/${name}`, import.meta.url))
  const python = join(venv, 'bin', 'python')
  const isThere = () => existsSync(python) && spawnSync(python, ['-c', `import ${module}`]).status === 0
  if (isThere()) return { python }
  if (spawnSync('python3', ['-m', 'venv', venv], { timeout: INSTALL_LIMIT_MS }).status !== 0) return { reason: 'python3 with venv and pip is not on this machine' }
  spawnSync(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', requirement], { timeout: INSTALL_LIMIT_MS })
  return isThere() ? { python } : { reason: `${requirement} can't be had from the package index` }
}
