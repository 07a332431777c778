import type { Fact } from '../contracts/fact.ts'
import type { ModuleId } from '../contracts/ids.ts'
import { isCrash, moduleOf, timeOf } from './facts.ts'
import { HALF_LIFE_MS, weightAt } from './sums.ts'

/** How long a module ran and how often it crashed, both fading. */
export interface Exposure {
  readonly moduleId: ModuleId
  readonly upMs: number
  readonly crashes: number
  /** Unweighted. */
  readonly crashesEver: number
  readonly evidence: readonly string[]
}

/**
 * How long each module has been running, from facts.
 *
 * A restart after a crash takes milliseconds, so a module counts as up from its start until it is stopped, gives up or
 * the daemon ends; after a crash of the daemon, until the last fact before it.
 */
export class Uptime {
  readonly #lives = new Map<ModuleId, Life>()
  #lastFactMs = 0

  fold(fact: Fact): void {
    const atMs = timeOf(fact)
    if (fact.type === 'daemon.started') for (const life of this.#lives.values()) end(life, this.#lastFactMs)
    if (fact.type === 'daemon.stopping') for (const life of this.#lives.values()) end(life, atMs)
    const moduleId = moduleOf(fact)
    if (moduleId !== undefined) {
      if (STARTS.has(fact.type)) begin(this.#life(moduleId), atMs)
      if (ENDS.has(fact.type)) end(this.#life(moduleId), atMs)
      if (isCrash(fact)) crash(this.#life(moduleId), atMs, fact)
    }
    this.#lastFactMs = Math.max(this.#lastFactMs, atMs)
  }

  /** Time this module has been up altogether, not fading: for telling clean hours apart. */
  upMs(moduleId: ModuleId, nowMs: number): number {
    const life = this.#lives.get(moduleId)
    if (life === undefined) return 0
    return life.totalMs + (life.upSinceMs === null ? 0 : Math.max(0, nowMs - life.upSinceMs))
  }

  exposures(nowMs: number): Exposure[] {
    return [...this.#lives].map(([moduleId, life]) => ({
      moduleId,
      upMs: fadingUpMs(life, nowMs),
      crashes: life.crashes * weightAt(life.atMs, nowMs),
      crashesEver: life.crashesEver,
      evidence: life.evidence,
    }))
  }

  save(): SavedUptime {
    return { last_fact_ms: this.#lastFactMs, lives: [...this.#lives].map(([id, life]) => [id, { ...life }]) }
  }

  load(saved: SavedUptime): void {
    this.#lastFactMs = saved.last_fact_ms
    this.#lives.clear()
    for (const [moduleId, life] of saved.lives) this.#lives.set(moduleId, { ...life })
  }

  #life(moduleId: ModuleId): Life {
    const known = this.#lives.get(moduleId)
    if (known !== undefined) return known
    const life = {
      upSinceMs: null,
      totalMs: 0,
      atMs: 0,
      fadingMs: 0,
      crashes: 0,
      crashesEver: 0,
      evidence: [],
    }
    this.#lives.set(moduleId, life)
    const oldest = this.#lives.keys().next().value
    if (this.#lives.size > MODULES_MAX && oldest !== undefined) this.#lives.delete(oldest)
    return life
  }
}

interface Life {
  upSinceMs: number | null
  totalMs: number
  /** When `fadingMs` and `crashes` were last brought up to date; `fadingMs` knows the time up until then. */
  atMs: number
  fadingMs: number
  crashes: number
  crashesEver: number
  evidence: string[]
}

interface SavedUptime {
  readonly last_fact_ms: number
  readonly lives: readonly (readonly [ModuleId, Life])[]
}

const STARTS = new Set(['module.started', 'module.reloaded', 'module.rolled_back'])
const ENDS = new Set(['module.stopped', 'module.start_failed', 'module.crashloop', 'module.removed'])

function begin(life: Life, atMs: number): void {
  bringUp(life, atMs)
  life.upSinceMs ??= atMs
}

function end(life: Life, atMs: number): void {
  if (life.upSinceMs === null) return
  bringUp(life, atMs)
  life.totalMs += Math.max(0, atMs - life.upSinceMs)
  life.upSinceMs = null
}

function crash(life: Life, atMs: number, fact: Fact): void {
  bringUp(life, atMs)
  life.crashes += 1
  life.crashesEver += 1
  life.evidence = [`seq:${fact.seq}`, ...life.evidence].slice(0, EXAMPLES_MAX)
}

function bringUp(life: Life, atMs: number): void {
  if (atMs <= life.atMs) return
  life.fadingMs = fadingUpMs(life, atMs)
  life.crashes *= weightAt(life.atMs, atMs)
  life.atMs = atMs
}

/** ∫ 2^(−age/H) over the time up: what was before fades, what came since is added. */
function fadingUpMs(life: Life, nowMs: number): number {
  const before = life.fadingMs * weightAt(life.atMs, nowMs)
  if (life.upSinceMs === null) return before
  const sinceMs = Math.max(0, nowMs - Math.max(life.atMs, life.upSinceMs))
  return before + (HALF_LIFE_MS / Math.LN2) * (1 - 2 ** (-sinceMs / HALF_LIFE_MS))
}

const EXAMPLES_MAX = 5
/** Far above what one daemon supervises. */
const MODULES_MAX = 2_000
