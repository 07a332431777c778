import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Fact } from '../../daemon/contracts/fact.ts'
import { until } from '../kit/numbers.ts'
import { launchSite, type MissionSite } from './site.ts'

/** Records of missions that were really run, from which a history is made. */
export interface Template {
  /** The folder of the daemon that ran them, stopped: key, generations and modules are there. */
  readonly dir: string
  /** Everything that is no mission's, as it came: modules found, tested and started. */
  readonly prelude: readonly Fact[]
  readonly kinds: readonly Kind[]
}

/** One kind of mission: how much of history is of it, and its records from its creation to its end. */
export interface Kind {
  readonly share: number
  readonly facts: readonly Fact[]
}

/** Stands in the records for what is different in each mission. */
export const STAND_IN = { goal: 'Replace this goal by another one', number: 918_273_645 } as const

interface Wanted {
  readonly share: number
  readonly uses: string
  readonly category: string
  readonly end: 'completed' | 'failed' | 'cancelled'
}

/** Three of a hundred failed, one was cancelled; modules and categories differ. */
const WANTED: readonly Wanted[] = [
  { share: 0.48, uses: 'bench/noop/again', category: 'coin', end: 'completed' },
  { share: 0.3, uses: 'bench/other/once', category: 'library', end: 'completed' },
  { share: 0.1, uses: 'bench/noop/again', category: 'sanctuary', end: 'completed' },
  { share: 0.08, uses: 'bench/flaky/again', category: 'forge', end: 'completed' },
  { share: 0.03, uses: 'bench/flaky/fail', category: 'forge', end: 'failed' },
  { share: 0.01, uses: 'bench/other/once', category: 'library', end: 'cancelled' },
]

/** Runs some missions of each kind and keeps the records of the last: by then each stands on evidence. */
export async function makeTemplate(root: string): Promise<Template> {
  const dir = mkdtempSync(join(root, 'nxm-template-'))
  try {
    const site = await launchSite(dir)
    const ids: string[] = []
    try {
      for (const wanted of WANTED) {
        for (let warm = wanted.end === 'completed' ? WARM : 0; warm > 0; warm -= 1) await runOne(site, wanted)
        ids.push(await runOne(site, wanted))
      }
    } finally {
      await site.stop()
    }
    const text = readFileSync(join(dir, 'data/audit.jsonl'), 'utf8')
    const facts: Fact[] = text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line))
    return {
      dir,
      prelude: facts.filter(({ mid, type }) => mid === undefined && !type.startsWith('command.')),
      kinds: WANTED.map(({ share }, at) => ({ share, facts: facts.filter(({ mid }) => mid === ids[at]) })),
    }
  } catch (error) {
    rmSync(dir, { recursive: true, force: true })
    throw error
  }
}

/** Resolves with the id when it has ended as wanted. */
async function runOne(site: MissionSite, { uses, category, end }: Wanted): Promise<string> {
  const later = new Date(Date.now() + 3_600_000).toISOString()
  const { status, body } = await site.post('/v1/missions/create', {
    goal: STAND_IN.goal,
    category,
    constraints: { max_time_seconds: 60, max_steps: 3 },
    plan: [{ id: 'only', uses, with: { i: STAND_IN.number } }],
    max_attempts: 1,
    ...(end === 'cancelled' ? { not_before: later } : {}),
  })
  if (status !== 201) throw new Error(`a mission of the template was refused: ${status} ${body}`)
  const id: string = JSON.parse(body).mission_id
  if (end === 'cancelled')
    await site.post('/v1/missions/cancel', { mission_id: id, reason: 'not wanted any more' })
  const hasEnded = async () => JSON.parse(await site.get(`/v1/missions/${id}`)).status === end || undefined
  await until(hasEnded, 10_000, 2)
  return id
}

const WARM = 8
