import '../support/clean-children.ts'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { Found } from './check.ts'
import type { Mutant } from './mutants.ts'

/** Each bug is found within a few hundred of these; more is for the day on which the daemon makes it harder. */
const SCHEDULES = 1_500
const SEED = 1

/** The daemon is simulated on every Node; whether its planted bugs are caught is asked on the one that ships. */
export const skip = process.versions.node.startsWith('22.') && 'planted bugs are caught on Node 24'

/** Every planted bug is caught: by the simulation, or by the suite that does on purpose what an engine never does. */
export function catchAll(t: Test, mutants: readonly Mutant[]): void {
  for (const { name, by } of mutants) {
    if (by === 'conformance') {
      const { status, stdout } = run('../missions/conformance-mutant.ts', name)
      t.ok(status === 1 && stdout.includes('not ok'), `${name}: caught by the conformance suite`)
      continue
    }
    const { failure, schedules } = simulate('--schedules', String(SCHEDULES), '--mutant', name)
    t.ok(failure, `${name}: ${failure ? `after ${schedules}, ${failure.message}` : 'not caught'}`)
  }
}

/** What as many schedules as most bugs need say of the daemon as it is. */
export function simulate(...options: string[]): Found {
  const { status, stdout, stderr } = run('simulate.ts', '--json', '--seed', String(SEED), ...options)
  if (status !== 0) throw new Error(stderr)
  return JSON.parse(stdout)
}

/**
 * In a process of its own, because a bug that was planted stays; and without what the test runner adds to every process,
 * because on Node 22 its loading and ours do not go together.
 */
function run(file: string, ...options: string[]) {
  const path = fileURLToPath(new URL(file, import.meta.url))
  const { NODE_OPTIONS: _, ...env } = process.env
  return spawnSync(process.execPath, [path, ...options], { encoding: 'utf8', env })
}
