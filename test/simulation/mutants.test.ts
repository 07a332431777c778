import '../support/clean-children.ts'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Found } from './check.ts'
import { MUTANTS } from './mutants.ts'

/** Each bug is found within a few hundred of these; more is for the day on which the daemon makes it harder. */
const SCHEDULES = 1_500
const SEED = 1

t.test('every planted bug is caught, and the same schedules find nothing without it', async (t) => {
  const healthy = simulate('--schedules', '600')
  t.equal(healthy.failure, undefined, `${healthy.schedules} schedules of the daemon as it is`)
  for (const { name, by } of MUTANTS) {
    if (by === 'conformance') continue
    const { failure, schedules } = simulate('--schedules', String(SCHEDULES), '--mutant', name)
    t.ok(failure, `${name}: ${failure ? `after ${schedules}, ${failure.message}` : 'not caught'}`)
  }
})

t.test('what the embedded engine never does by itself is caught by the conformance suite', async (t) => {
  for (const { name, by } of MUTANTS) {
    if (by !== 'conformance') continue
    const { status, stdout } = run('../missions/conformance-mutant.ts', name)
    t.equal(status, 1, name)
    t.match(stdout, /not ok/)
  }
})

function simulate(...options: string[]): Found {
  const { status, stdout, stderr } = run('simulate.ts', '--json', '--seed', String(SEED), ...options)
  if (status !== 0) throw new Error(stderr)
  return JSON.parse(stdout)
}

/** In a process of its own, because a bug that was planted stays. */
function run(file: string, ...options: string[]) {
  const path = fileURLToPath(new URL(file, import.meta.url))
  return spawnSync(process.execPath, [path, ...options], { encoding: 'utf8' })
}
