import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Found } from './check.ts'
import { MUTANTS, type Mutant, patchesOf, plant, SMALL } from './mutants.ts'

/**
 * `npm run simulate -- --schedules 100000 --seed 1`: plays as many schedules as one likes.
 * `npm run simulate -- --mutants`: plays each planted bug until it is caught.
 */
const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    mutants: { type: 'boolean', default: false },
    mutant: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
const schedules = Number(values.schedules)
const seed = Number(values.seed)

if (values.mutants) for (const mutant of MUTANTS) tellMutant(mutant)
else await playAll()

async function playAll(): Promise<void> {
  const mutant = MUTANTS.find(({ name }) => name === values.mutant)
  if (values.mutant !== undefined && mutant === undefined) throw new Error(`no mutant '${values.mutant}'`)
  plant(mutant === undefined ? SMALL : [...SMALL, ...patchesOf(mutant)])
  const { check, tellFailure } = await import('./check.ts')
  const found = await check({ seed, schedules, isQuick: values.json })
  if (values.json) {
    console.log(JSON.stringify(found))
    return
  }
  const { failure, figures, seconds } = found
  const per = (count: number): string => `${count} (${Math.round(count / seconds)}/s)`
  console.log(`schedules      ${per(found.schedules)} in ${seconds.toFixed(1)} s, seed ${seed}`)
  for (const [name, count] of Object.entries(figures)) console.log(`${name.padEnd(14)} ${per(count)}`)
  console.log(failure === undefined ? 'no failure' : tellFailure(failure))
  process.exitCode = failure === undefined ? 0 : 1
}

function tellMutant(mutant: Mutant): void {
  if (mutant.by === 'conformance') {
    console.log(`conformance     ${mutant.name}`)
    return
  }
  const found = playMutant(mutant.name, schedules, seed)
  const { failure } = found
  const after = failure === undefined ? 'NOT CAUGHT' : `after ${found.schedules}`
  console.log(`${after.padEnd(15)} ${mutant.name}${failure === undefined ? '' : `: ${failure.message}`}`)
  if (failure === undefined) process.exitCode = 1
}

/** In a process of its own, because a bug that was planted stays. */
function playMutant(name: string, schedules: number, seed: number): Found {
  const file = fileURLToPath(import.meta.url)
  const order = ['--json', '--mutant', name, '--schedules', String(schedules), '--seed', String(seed)]
  const { stdout, stderr, status } = spawnSync(process.execPath, [file, ...order], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${name}: ${stderr}`)
  return JSON.parse(stdout)
}
