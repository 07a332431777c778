import { spawn, spawnSync } from 'node:child_process'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Found } from './check.ts'
import { MUTANTS, type Mutant, patchesOf, plant, SMALL } from './mutants.ts'

/**
 * `npm run simulate -- --schedules 100000 --seed 1 --workers 2`: plays as many schedules as one likes.
 * `npm run simulate -- --mutants`: plays each planted bug until it is caught.
 */
const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    mutants: { type: 'boolean', default: false },
    mutant: { type: 'string' },
    workers: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
    /** For a worker: makes a failure small all the same, and tells on stderr how far it is. */
    worker: { type: 'boolean', default: false },
  },
})
const schedules = Number(values.schedules)
const seed = Number(values.seed)

const workers = Number(values.workers)
/** About every ten seconds. */
const TELL_EVERY = 2_500

if (values.mutants) for (const mutant of MUTANTS) tellMutant(mutant)
else if (values.json) await playHere()
else await playAll()

/** Plays them in this process, and tells what was found as JSON. */
async function playHere(): Promise<void> {
  const mutant = MUTANTS.find(({ name }) => name === values.mutant)
  if (values.mutant !== undefined && mutant === undefined) throw new Error(`no mutant '${values.mutant}'`)
  plant(mutant === undefined ? SMALL : [...SMALL, ...patchesOf(mutant)])
  const { check } = await import('./check.ts')
  const played = (count: number): void => {
    if (count % TELL_EVERY === 0) console.error(count)
  }
  const order = { seed, schedules, isQuick: !values.worker }
  console.log(JSON.stringify(await check({ ...order, ...(values.worker ? { played } : {}) })))
}

/** Shares them out among processes, each with a seed of its own, and tells the sum. */
async function playAll(): Promise<void> {
  const { tellFailure } = await import('./check.ts')
  const startedMs = performance.now()
  const counts = Array<number>(workers).fill(0)
  const told = (worker: number, count: number): void => {
    counts[worker] = count
    const sum = counts.reduce((all, one) => all + one, 0)
    const seconds = (performance.now() - startedMs) / 1_000
    console.log(`  ${sum} of ${schedules} schedules, ${seconds.toFixed(0)} s, no failure so far`)
  }
  const share = Math.ceil(schedules / workers)
  const all = await Promise.all(counts.map((_, worker) => work(worker, share, told)))
  const seconds = (performance.now() - startedMs) / 1_000
  const per = (count: number): string => `${count} (${Math.round(count / seconds)}/s)`
  const sum = (of: (found: Found) => number): number => all.reduce((total, found) => total + of(found), 0)
  const seeds = all.map((_, worker) => seedOf(worker)).join(', ')
  console.log(
    `schedules      ${per(sum((found) => found.schedules))} in ${seconds.toFixed(1)} s, seed ${seeds}`,
  )
  for (const name of Object.keys(all[0]?.figures ?? {}) as (keyof Found['figures'])[]) {
    console.log(`${name.padEnd(14)} ${per(sum(({ figures }) => figures[name]))}`)
  }
  const failures = all.flatMap(({ failure }) => failure ?? [])
  for (const failure of failures) console.log(tellFailure(failure))
  if (failures.length === 0) console.log('no failure')
  process.exitCode = failures.length === 0 ? 0 : 1
}

async function work(
  worker: number,
  share: number,
  told: (worker: number, count: number) => void,
): Promise<Found> {
  const order = ['--json', '--worker', '--schedules', String(share), '--seed', String(seedOf(worker))]
  if (values.mutant !== undefined) order.push('--mutant', values.mutant)
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), ...order], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  createInterface(child.stderr).on('line', (line) => {
    const count = Number(line)
    if (Number.isInteger(count)) told(worker, count)
    else console.error(line)
  })
  const json = await text(child.stdout)
  if (json === '') throw new Error(`worker ${worker} ended without a word`)
  return JSON.parse(json)
}

/** Far apart, so that no two runs with seeds of people play the same schedules. */
function seedOf(worker: number): number {
  return (seed + worker * 1_000_003) | 0
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
