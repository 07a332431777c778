import { basename, join } from 'node:path'
import type { ActionContext, RecordPaths } from 'aeon-nexus/module'
import { bytes, plain, table } from './format.ts'
import { readJournal } from './journal.ts'
import { missionFiles, openMissionFile } from './mission-files.ts'
import { eachLine } from './missions.ts'
import { References } from './references.ts'
import type { Settings } from './settings.ts'
import { entriesOf, type FoundFile, filesBelow, look, sumBytes, type Unknown } from './sizes.ts'

interface Prunable {
  readonly kind: 'generation' | 'artifact' | 'quarantine' | 'telemetry'
  readonly path: string
  readonly bytes: number
  readonly age_hours: number
  readonly because: string
}

/** So many are in the answer; all of them are in the artifacts. */
const LARGEST_MAX = 10
/** An artifact has a limit; what is beyond it is the small fry. */
const LISTED_MAX = 2_000

/** Lists what nothing needs any more, and deletes nothing: that is an operator's decision. */
export async function prunable(
  artifacts: boolean,
  records: RecordPaths,
  settings: Settings,
  ctx: ActionContext,
): Promise<object> {
  const unknown: Unknown = {}
  const notes: string[] = []
  let references = new References()
  const chain = await readJournal(records, {
    signal: ctx.signal,
    progress: (fraction) => ctx.progress(0.7 * fraction, 'reading the journal'),
    record: (line, record) => references.take(line, record),
    restart: () => {
      references = new References()
    },
  })
  const survey: Survey = { records, settings, ctx, unknown, notes, nowMs: Date.now() }
  const found: Prunable[] = []
  // What was compacted is known from the missions alone; of generations nothing is said then.
  if ((chain.first_seq ?? 1) > 1) await referencesOfMissions(references, records, ctx.signal)
  if (chain.ok) {
    found.push(...(await oldGenerations(survey, references)), ...(await orphans(survey, references)))
  } else {
    notes.push(
      `The journal is damaged at record ${chain.first_bad?.seq}: what it refers to is not known, so no generation and no artifact is called prunable.`,
    )
  }
  found.push(...(await quarantined(survey)), ...(await rotated(survey)))
  found.sort((a, b) => b.bytes - a.bytes || (a.path < b.path ? -1 : 1))
  for (const [path, why] of Object.entries(unknown)) notes.push(`Not looked at: ${path}: ${why}.`)

  const groups = Object.fromEntries(
    (['generation', 'artifact', 'quarantine', 'telemetry'] as const).map((kind) => {
      const members = found.filter((one) => one.kind === kind)
      return [kind, { count: members.length, bytes: sumBytes(members) }]
    }),
  )
  const view = {
    summary: say(found, settings.min_age_hours),
    count: found.length,
    bytes: sumBytes(found),
    groups,
    notes,
  }
  const answer = { ...view, largest: found.slice(0, LARGEST_MAX) }
  if (!artifacts) return { ...answer, artifacts: [] }
  const listed = found.slice(0, LISTED_MAX)
  await ctx.artifact('prunable.md', report(view, listed), 'text/markdown')
  await ctx.artifact('prunable.json', JSON.stringify({ ...view, items: listed }, null, 1), 'application/json')
  return { ...answer, artifacts: ['prunable.md', 'prunable.json'] }
}

interface Survey {
  readonly records: RecordPaths
  readonly settings: Settings
  readonly ctx: ActionContext
  readonly unknown: Unknown
  readonly notes: string[]
  readonly nowMs: number
}

async function referencesOfMissions(
  references: References,
  records: RecordPaths,
  signal: AbortSignal,
): Promise<void> {
  for (const file of await missionFiles(records)) {
    await eachLine(await openMissionFile(records, file), signal, (line) => references.takeText(line))
  }
}

/** `generations/<group>/<name>/<hash>`, except the one that was accepted last and what is not yet judged. */
async function oldGenerations(survey: Survey, references: References): Promise<Prunable[]> {
  const { records, settings, unknown, ctx } = survey
  const found: Prunable[] = []
  for (const group of await foldersIn(records.generations, survey)) {
    for (const name of await foldersIn(join(records.generations, group), survey)) {
      const accepted = references.accepted.get(`${group}/${name}`)
      if (accepted === undefined) continue // Never judged: one of them may be running.
      const home = join(records.generations, group, name)
      for (const generation of await foldersIn(home, survey)) {
        if (generation === accepted) continue
        const path = join(home, generation)
        const { files } = await filesBelow(path, settings.entries_max, unknown, ctx.signal)
        const newest = Math.max(0, ...files.map(({ mtimeMs }) => mtimeMs))
        const because = `${group}/${name} accepted ${accepted.slice(0, 12)} last`
        found.push(...old(survey, 'generation', { path, bytes: sumBytes(files), mtimeMs: newest }, because))
      }
    }
  }
  return found
}

/** Artifacts that no record names. */
async function orphans(survey: Survey, references: References): Promise<Prunable[]> {
  const { records, settings, unknown, ctx, notes } = survey
  const { files, more } = await filesBelow(records.artifacts, settings.entries_max, unknown, ctx.signal)
  if (more) notes.push(`Only the first ${settings.entries_max} artifacts were looked at (entries_max).`)
  return files
    .filter(({ path }) => !references.names(basename(path)))
    .flatMap((file) => old(survey, 'artifact', file, 'no record refers to it'))
}

async function quarantined(survey: Survey): Promise<Prunable[]> {
  const { records, settings, unknown, ctx } = survey
  const { files } = await filesBelow(records.quarantine, settings.entries_max, unknown, ctx.signal)
  return files.flatMap((file) =>
    old(survey, 'quarantine', file, 'a torn end that was set aside; nothing reads it'),
  )
}

async function rotated(survey: Survey): Promise<Prunable[]> {
  const { telemetry, runtime_metrics: metrics } = survey.records
  const files = await Promise.all([telemetry, metrics].map((path) => look(`${path}.1`, survey.unknown)))
  return files.flatMap((file) =>
    file === undefined ? [] : old(survey, 'telemetry', file, 'rotated; the next rotation replaces it'),
  )
}

/** Nothing young: it may be on its way into a record. */
function old(
  { nowMs, settings }: Survey,
  kind: Prunable['kind'],
  file: FoundFile,
  because: string,
): Prunable[] {
  const hours = (nowMs - file.mtimeMs) / 3_600_000
  if (hours < settings.min_age_hours) return []
  return [{ kind, path: file.path, bytes: file.bytes, age_hours: Math.round(hours * 10) / 10, because }]
}

async function foldersIn(folder: string, { settings, unknown }: Survey): Promise<string[]> {
  const entries = await entriesOf(folder, settings.entries_max, unknown)
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
}

function say(found: readonly Prunable[], minAgeHours: number): string {
  if (found.length === 0)
    return `Nothing can be pruned: all that is older than ${minAgeHours} h is still needed.`
  const noun = found.length === 1 ? 'thing' : 'things'
  return `${found.length} ${noun} could be pruned, ${bytes(sumBytes(found))} in all; nothing was deleted.`
}

function report(
  {
    summary,
    groups,
    notes,
  }: { summary: string; groups: Record<string, { count: number; bytes: number }>; notes: readonly string[] },
  found: readonly Prunable[],
): string {
  const parts = [
    '# What can be pruned',
    `**${plain(summary)}**`,
    table(
      ['kind', 'count', 'size'],
      Object.entries(groups).map(([kind, { count, bytes: size }]) => [kind, count, bytes(size)]),
    ),
    ...(found.length === 0
      ? []
      : [
          '## Largest first',
          table(
            ['kind', 'size', 'age', 'path', 'why'],
            found.map((one) => [one.kind, bytes(one.bytes), `${one.age_hours} h`, one.path, one.because]),
          ),
        ]),
    ...notes.map((note) => `- ${plain(note)}`),
  ]
  return `${parts.join('\n\n')}\n`
}
