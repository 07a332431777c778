import { strict as assert } from 'node:assert'
import { hash } from 'node:crypto'
import { closeSync, cpSync, fdatasyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Fact } from '../../daemon/contracts/fact.ts'
import { readGoal } from '../../daemon/insight/fingerprint.ts'
import { type Chance, seededChance } from '../../daemon/kit/chance.ts'
import { MissionIds } from '../../daemon/missions/mission-id.ts'
import { checkLine, encodeDraft, GENESIS, type Link } from '../../daemon/storage/line.ts'
import { sealedName } from '../../daemon/storage/segments.ts'
import { type Kind, STAND_IN, type Template } from './template.ts'

/** A data folder with a past, as a daemon that ran for a month would have left its journal. */
export interface History {
  readonly dir: string
  readonly missions: number
  readonly records: number
  readonly journalBytes: number
  /** Ids over the whole past, oldest first, evenly spread. */
  readonly sample: readonly string[]
}

/**
 * Makes a data folder whose journal holds so many missions: the records of the template, each time with another id,
 * goal, time and duration, chained and in batches. Nothing that is derived from the journal is there; a first start
 * makes it.
 */
export function makeHistory(template: Template, dir: string, missions: number, seed: number): History {
  rmSync(dir, { recursive: true, force: true })
  cpSync(template.dir, dir, { recursive: true, filter: (file) => !DERIVED.test(file) })
  mkdirSync(join(dir, 'data/audit'), { recursive: true })
  const chance = seededChance(seed)
  const writer = new ChainFile(join(dir, 'data'))
  const [endMs, spanMs] = [Date.now() - 60_000, SPAN_MS]
  let nowMs = endMs - spanMs
  const ids = new MissionIds({ now: () => nowMs, elapsed: () => nowMs, after: () => assert.fail() }, chance)
  writer.batch(template.prelude.map((fact) => textOf(fact, nowMs)))

  const kinds = template.kinds.map(kindFrom)
  const sample: string[] = []
  const sampleEvery = Math.max(1, Math.floor(missions / SAMPLE))
  let former: readonly string[] = []
  for (let made = 0; made < missions; made += GROUP) {
    nowMs = endMs - spanMs + Math.floor((spanMs * made) / missions)
    const group = Array.from({ length: Math.min(GROUP, missions - made) }, (_, at) => {
      const id = ids.next()
      if ((made + at) % sampleEvery === 0) sample.push(id)
      return { ...pick(kinds, chance), id, number: made + at, ...chosen(chance), former: former[at] ?? id }
    })
    // As it is under load: many go on together, and what is written at one moment is one batch.
    for (let record = 0; record < RECORDS_MAX; record += 1) {
      const moment = timeOf(nowMs + record * 3)
      const texts = group.flatMap((mission) => {
        const pieces = mission.records[record]
        return pieces === undefined ? [] : [fill(pieces, mission, moment)]
      })
      writer.batch(texts)
    }
    former = group.map(({ id }) => id)
  }
  writer.close()
  return { dir, missions, records: writer.link.seq, journalBytes: writer.bytes, sample }
}

/** Writes the chain as the journal does, segments included, with one sync for each file instead of each batch. */
class ChainFile {
  readonly #data: string
  #fd: number
  #pending: Buffer[] = []
  #pendingBytes = 0
  #segmentBytes = 0
  #segment = 1
  #opening: string | undefined
  link: Link = GENESIS
  bytes = 0

  constructor(data: string) {
    this.#data = data
    this.#fd = openSync(join(data, 'audit.jsonl'), 'w', 0o600)
  }

  batch(texts: readonly string[]): void {
    if (texts.length === 0) return
    if (this.#segmentBytes >= SEGMENT_BYTES) this.#seal()
    const b = this.link.seq + 1
    let lines = ''
    for (const text of this.#opening === undefined ? texts : [this.#opening, ...texts]) {
      const seq = this.link.seq + 1
      const content = `{"v":1,"seq":${seq},"b":${b},${text}`
      const h = hash('sha256', this.link.h + content)
      const line = `${content},"h":"${h}"}\n`
      // Now and then the project's own reader is asked whether this is a record.
      if (seq % CHECK_EVERY === 0) assert.ok(checkLine(Buffer.from(line), this.link).ok)
      lines += line
      this.link = { seq, b, h }
    }
    this.#opening = undefined
    const bytes = Buffer.from(lines)
    this.#pending.push(bytes)
    this.#pendingBytes += bytes.length
    this.#segmentBytes += bytes.length
    this.bytes += bytes.length
    if (this.#pendingBytes >= WRITE_BYTES) this.#flush()
  }

  close(): void {
    this.#flush()
    fdatasyncSync(this.#fd)
    closeSync(this.#fd)
  }

  #seal(): void {
    this.close()
    const name = sealedName(this.#segment)
    renameSync(join(this.#data, 'audit.jsonl'), join(this.#data, name))
    const { seq, h } = this.link
    const d = { sealed: name, bytes: this.#segmentBytes, last_seq: seq, last_h: h }
    const actor = { kind: 'daemon', name: 'nexusd' } as const
    this.#opening = encodeDraft({ type: 'journal.segment_opened', actor, d }, new Date().toISOString()).text
    this.#segment = seq + 1
    this.#segmentBytes = 0
    this.#fd = openSync(join(this.#data, 'audit.jsonl'), 'w', 0o600)
  }

  #flush(): void {
    if (this.#pendingBytes > 0) writeSync(this.#fd, Buffer.concat(this.#pending))
    this.#pending = []
    this.#pendingBytes = 0
  }
}

/** A record in pieces: fixed text, and between each two the name of what comes there. */
type Pieces = readonly string[]

interface MadeKind {
  readonly share: number
  readonly records: readonly Pieces[]
}

function kindFrom({ share, facts }: Kind): MadeKind {
  return { share, records: facts.map((fact) => piecesOf(fact)) }
}

function piecesOf(fact: Fact): Pieces {
  const d = { ...fact.d }
  if (d['fingerprint'] !== undefined) Object.assign(d, { fingerprint: '@FINGERPRINT@', tokens: '@TOKENS@' })
  if (typeof d['duration_ms'] === 'number') d['duration_ms'] = '@DURATION@'
  return textOf({ ...fact, d, mid: '@ID@' }, 0)
    .replaceAll(timeOf(0), '@TIME@')
    .replaceAll(fact.mid ?? '@ID@', '@ID@')
    .replaceAll(/m-[0-9a-z]{26}/g, '@FORMER@')
    .replaceAll(STAND_IN.goal, '@GOAL@')
    .replaceAll(String(STAND_IN.number), '@NUMBER@')
    .replaceAll(/"@(TOKENS|DURATION)@"/g, '@$1@')
    .split('@')
}

interface Filling {
  readonly id: string
  readonly former: string
  readonly number: number
  readonly goal: Goal
  readonly durationMs: number
}

function fill(pieces: Pieces, { id, former, number, goal, durationMs }: Filling, time: string): string {
  let text = ''
  for (const [at, piece] of pieces.entries()) {
    if (at % 2 === 0) text += piece
    else if (piece === 'ID') text += id
    else if (piece === 'TIME') text += time
    else if (piece === 'GOAL') text += goal.text
    else if (piece === 'FINGERPRINT') text += goal.fingerprint
    else if (piece === 'TOKENS') text += goal.tokens
    else if (piece === 'NUMBER') text += number
    else if (piece === 'DURATION') text += durationMs
    else if (piece === 'FORMER') text += former
    else assert.fail(`a record of the template holds @${piece}@`)
  }
  return text
}

function textOf({ type, mid, ep, actor, d }: Fact, timeMs: number): string {
  const named = { ...(mid === undefined ? {} : { mid }), ...(ep === undefined ? {} : { ep }) }
  return encodeDraft({ type, ...named, actor, d }, timeOf(timeMs)).text
}

function timeOf(timeMs: number): string {
  return new Date(timeMs).toISOString()
}

function pick(kinds: readonly MadeKind[], chance: Chance): MadeKind {
  let left = chance.next()
  const found = kinds.find(({ share }) => {
    left -= share
    return left < 0
  })
  return found ?? (kinds[0] as MadeKind)
}

interface Goal {
  readonly text: string
  readonly fingerprint: string
  /** As JSON. */
  readonly tokens: string
}

function goals(): Goal[] {
  const things = DEEDS.flatMap((deed) =>
    OBJECTS.flatMap((object) => PLACES.map((place) => `${deed} ${object} ${place}`)),
  )
  return things.map((text) => {
    const { fingerprint, tokens } = readGoal(text)
    return { text, fingerprint, tokens: JSON.stringify(tokens) }
  })
}

/** What a person would ask for again and again: two thousand goals. Most take milliseconds, some take seconds. */
function chosen(chance: Chance): { goal: Goal; durationMs: number } {
  const goal = GOALS[Math.floor(chance.next() * GOALS.length)] as Goal
  return { goal, durationMs: Math.round(2 + 20 * -Math.log(1 - chance.next())) }
}

const DEEDS = 'optimize,collect,measure,summarize,clean,compare,publish,forecast,review,archive'.split(',')
const OBJECTS =
  'leads,invoices,reports,backups,prices,tickets,logs,orders,images,contracts,surveys,budgets,posts,schedules,drafts,feeds,maps,tests,keys,notes'.split(
    ',',
  )
const PLACES =
  'in Berlin,in Lagos,in Osaka,in Lima,in Oslo,for sales,for support,for finance,for research,for staff'.split(
    ',',
  )
const GOALS = goals()

/** What only a first start makes, and what belonged to the daemon that ran the template. */
const DERIVED =
  /\/data\/(audit(\.jsonl)?|missions(\.jsonl)?|index|runes\.json|system_state.*|telemetry.*|runtime_metrics.*|run)$/
const SPAN_MS = 30 * 86_400_000
const GROUP = 16
/** A mission of one step has fewer. */
const RECORDS_MAX = 16
const SAMPLE = 2_000
const CHECK_EVERY = 997
const SEGMENT_BYTES = 256 * 1_048_576
const WRITE_BYTES = 4 * 1_048_576
