import { NexusError } from '../contracts/failure.ts'
import type { Explanation, ModuleOmen, ModuleState } from '../contracts/status.ts'
import { effectOf, shownOf } from './omened.ts'
import type { ModuleMemory } from './remembered.ts'
import type { Unit } from './unit.ts'

/** What somebody who asks why has to know: what stands in the way, what comes next, what to do. */
interface Plight {
  readonly blockedOn?: string | undefined
  readonly next: string
  readonly remedy?: string | undefined
}

/** Where an explanation looks things up. */
export interface Surroundings {
  readonly omen: ModuleOmen
  readonly memory: ModuleMemory
  /** What it requires may be the reason. */
  find(moduleId: string): Unit | undefined
}

/** Why a module is in its state, from the facts that led there, what happens next, and what to do. */
export function explainModule(unit: Unit, surroundings: Surroundings): Explanation {
  const { omen, memory } = surroundings
  const { state, sinceMs } = shownOf(unit, omen)
  const { blockedOn, next, remedy } = PLIGHTS[state](unit, surroundings)
  const effect = state === 'locked' ? undefined : effectOf(omen)
  return {
    state,
    since: new Date(sinceMs).toISOString(),
    because: memory.recent,
    blocked_on: blockedOn ?? null,
    next: effect === undefined ? next : `${next}; ${effect}`,
    remedy: remedy ?? null,
  }
}

const PLIGHTS: Readonly<Record<ModuleState, (unit: Unit, around: Surroundings) => Plight>> = {
  discovered: () => ({ next: 'its module.json is read' }),
  invalid: ({ because, invalidity }) => ({
    blockedOn: because,
    next: 'nothing, until its module.json is corrected',
    remedy: `correct ${invalidity?.file ?? 'its module.json'} and save it; it is read again at once`,
  }),
  loaded: loadedPlight,
  waiting: waitingPlight,
  starting: (unit) => ({
    next: `it is ready, or its start has failed, at ${timeOf(unit.sinceMs + limitsOf(unit).start_ms)} at the latest`,
  }),
  started: startedPlight,
  reloading: (unit) => ({
    next: `the new code is kept when it has held for ${limitsOf(unit).settle_ms} ms, else the old code goes on`,
  }),
  backoff: (unit, { memory }) => ({
    blockedOn: lossOf(unit, memory),
    next: `it is started again at ${retryOf(unit)}`,
    remedy: cureOf(unit, memory),
  }),
  crashloop: (unit, { memory }) => ({
    blockedOn: lossOf(unit, memory),
    next: `one try every five minutes: the next at ${retryOf(unit)}`,
    remedy: `${cureOf(unit, memory)}; \`nexus start ${unit.id}\` tries at once`,
  }),
  stopping: (unit) => ({
    next: `it is stopped when its calls have ended, or after ${limitsOf(unit).drain_ms} ms`,
  }),
  stopped: ({ id, because }) => ({
    blockedOn: because,
    next: 'nothing, until an operator starts it',
    remedy: `\`nexus start ${id}\``,
  }),
  failed: (unit, { memory }) => ({
    blockedOn: lossOf(unit, memory),
    next: 'nothing, until its code or its settings change, or an operator starts it',
    remedy: cureOf(unit, memory),
  }),
  locked: ({ id }, { omen }) => ({
    blockedOn: omen.because ?? 'an omen',
    next: 'no mission of it is claimed until an operator unlocks it; its instances stay up, and can be called by hand',
    remedy: `find out why it fails (\`nexus omens\`), correct it, then \`nexus unlock ${id} --reason …\``,
  }),
}

function loadedPlight({ id, because, rests }: Unit): Plight {
  if (!rests) return { next: 'it is started when what it requires is ready' }
  return { blockedOn: because, next: 'nothing, until somebody starts it', remedy: `\`nexus start ${id}\`` }
}

function waitingPlight(unit: Unit, { find }: Surroundings): Plight {
  const { id, because, manifest } = unit
  if (unit.replicasWanted === 0) {
    const next = 'nothing, until it is scaled up'
    return { blockedOn: because, next, remedy: `\`nexus scale ${id} 1\`` }
  }
  const missing = manifest?.requires.find((required) => find(required)?.ready !== true)
  if (missing !== undefined) {
    const goesOn = unit.serving === undefined ? 'starts' : 'goes on'
    return missingPlight(missing, find(missing), `it ${goesOn} when ${missing} is ready`)
  }
  return {
    blockedOn: because,
    next: 'it goes on when it says that it is ready',
    remedy: `give it what it waits for; \`nexus logs ${id}\` may say more`,
  }
}

function missingPlight(missing: string, required: Unit | undefined, next: string): Plight {
  if (required === undefined) {
    const remedy = `add the module ${missing}, or take it out of \`requires\``
    return { blockedOn: `it requires ${missing}, which is not there`, next, remedy }
  }
  const { state, because } = required
  return {
    blockedOn: `it requires ${missing}, which is ${state}: ${because}`,
    next,
    remedy: state === 'stopped' ? `\`nexus start ${missing}\`` : `see \`nexus explain ${missing}\``,
  }
}

function startedPlight(unit: Unit, { memory }: Surroundings): Plight {
  const { takers, replicasWanted } = unit
  const mute = takers.filter(({ suspected }) => suspected).map(({ id }) => id)
  const reverted = unit.lastReload?.rolled_back === true ? memory.refused.at(-1) : undefined
  const remedy =
    reverted === undefined
      ? undefined
      : `the code on disk was reverted (${reverted.phase}: ${reverted.reason}); correct it and save it`
  if (mute.length > 0) {
    const next = `it is killed and started again after ${limitsOf(unit).kill_ms} ms without a heartbeat`
    return { blockedOn: `no heartbeat from ${mute.join(', ')}`, next, remedy }
  }
  if (takers.length < replicasWanted) {
    const blockedOn = `${takers.length} of ${replicasWanted} instances are ready: ${lossOf(unit, memory)}`
    const retry =
      unit.retryAtMs === undefined ? 'the others come up' : `another one is started at ${retryOf(unit)}`
    return { blockedOn, next: retry, remedy: remedy ?? cureOf(unit, memory) }
  }
  return { next: 'it serves until it is stopped, reloaded or lost', remedy }
}

/** Why it is not up, with the stack where there is one: of the start that failed, or of the code that blocked it. */
function lossOf({ because, failure, state }: Unit, { lastLoss }: ModuleMemory): string {
  const stack = failure?.facts['stack'] ?? lastLoss?.stack
  const why = state === 'started' ? (lastLoss?.reason ?? because) : because
  return stack === undefined ? why : `${why}\n${stack}`
}

function cureOf({ id, failure }: Unit, { lastLoss }: ModuleMemory): string {
  const logs = `read \`nexus logs ${id}\``
  const told = failure?.facts['remedy']
  if (told !== undefined) return String(told)
  if (failure?.facts['phase'] === 'listen') {
    return 'end what uses the port, or name another one under `listen` in its module.json'
  }
  if (failure?.cause instanceof NexusError && failure.cause.code === 'CONFIG_VALUE_INVALID') {
    return `correct the setting: \`nexus configure ${id} <key> <value>\`, or nexus.yaml`
  }
  if (failure === undefined && lastLoss?.type === 'module.hung') {
    const place = lastLoss.blockedAt === undefined ? '' : ` at ${lastLoss.blockedAt}`
    return `make the code${place} give way to others, or give it longer (\`limits.heartbeat_kill_ms\`); saving starts it afresh`
  }
  if (failure === undefined && lastLoss?.culprit !== undefined) {
    return `see \`nexus explain ${lastLoss.culprit.replace(/#.*$/, '')}\`, which pulled it down`
  }
  return `${logs}, correct the code or the settings; saving starts it afresh`
}

function retryOf({ retryAtMs, sinceMs }: Unit): string {
  return timeOf(retryAtMs ?? sinceMs)
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString()
}

/** A module that was started has been read, so its manifest is there. */
function limitsOf({ manifest }: Unit): {
  start_ms: number
  drain_ms: number
  settle_ms: number
  kill_ms: number
} {
  const { start_ms = 0, drain_ms = 0, settle_ms = 0 } = manifest?.timeouts ?? {}
  return { start_ms, drain_ms, settle_ms, kill_ms: manifest?.limits.heartbeat_kill_ms ?? 0 }
}
