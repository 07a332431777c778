import type { ActionContext, NexusModule, RecordPaths } from 'aeon-nexus/module'
import { type DiagnoseRequest, diagnose } from './diagnose.ts'
import { bytes } from './format.ts'
import { type Chain, readJournal, readText } from './journal.ts'
import { maintain } from './maintain.ts'
import { plan } from './plan.ts'
import { prunable } from './prunable.ts'
import type { Settings } from './settings.ts'

/** A setting changed while running replaces the ones the instance started with. */
let changed: Settings | undefined

/** Looks after the daemon, and deletes nothing itself. */
export default {
  configure(_ctx, change) {
    changed = change.config as unknown as Settings
    return 'applied'
  },
  actions: {
    diagnose(input: DiagnoseRequest, ctx) {
      return diagnose(input, recordsOf(ctx), changed ?? ctx.config, ctx)
    },
    async verify(input: { text?: string }, ctx) {
      const reader = { signal: ctx.signal, progress: (fraction: number) => ctx.progress(fraction) }
      const chain =
        input.text === undefined ? await readJournal(recordsOf(ctx), reader) : readText(input.text)
      return { summary: say(chain), ...chain }
    },
    prunable(input: { artifacts?: boolean }, ctx) {
      return prunable(input.artifacts !== false, recordsOf(ctx), changed ?? ctx.config, ctx)
    },
    maintain,
    plan(input, ctx) {
      return plan(input, ctx.id)
    },
  },
} satisfies NexusModule

function recordsOf(ctx: ActionContext): RecordPaths {
  if (ctx.records === undefined) throw new Error('the daemon has not given this module its records to read')
  return ctx.records
}

function say({ first_bad: bad, records, files, bytes: size, open_bytes: open }: Chain): string {
  if (bad !== null) {
    return `The journal is damaged at record ${bad.seq} (${bad.file}, line ${bad.line}, byte ${bad.offset}): ${bad.reason}.`
  }
  const tail =
    open === 0 ? '' : ` ${open} bytes at its end are a line without an end: one being written, or torn.`
  if (records === 0) return `The journal has no records yet.${tail}`
  const where = `${files} file${files === 1 ? '' : 's'}, ${bytes(size)}`
  return `The journal is whole: ${records} record${records === 1 ? '' : 's'} (${where}) follow one another without a break.${tail}`
}
