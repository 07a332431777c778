import type { ActionContext, NexusModule } from 'aeon-nexus/module'
import { Library } from './library.ts'
import { plan } from './plan.ts'
import { entryOf, type SearchRequest, search } from './search.ts'
import type { Settings } from './settings.ts'
import { Shelf } from './shelf.ts'

/** A setting changed while running replaces the ones the instance started with. */
let changed: Settings | undefined
/** The index outlives a call; given documents never enter it. */
const shelf = new Shelf()

/** Finds again what was done, written and kept. */
export default {
  configure(_ctx, change) {
    changed = change.config as unknown as Settings
    return 'applied'
  },
  actions: {
    search(input: SearchRequest, ctx) {
      return shelf.alone(() => search(input, shelf, new Library(ctx.dataDir), settingsOf(ctx), ctx))
    },
    async keep(input: { name: string; query: string; note?: string; hits?: object[] }, ctx) {
      const entry = { ...entryOf(input.name, input.query, input.note, ctx), hits: input.hits ?? [] }
      const kept = await new Library(ctx.dataDir).keep(entry, settingsOf(ctx).library_max)
      const { name, revision, kept_at, hits } = kept
      const times = `${hits.length} hit${hits.length === 1 ? '' : 's'}`
      return {
        summary: `Kept as ${name} (${times}).`,
        name,
        revision,
        kept_at,
        hits: hits.length,
        changed: kept.changed,
      }
    },
    async library(input: { limit?: number }, ctx) {
      const entries = await new Library(ctx.dataDir).entries()
      const shown = entries.slice(0, input.limit ?? 25).map(({ hits, query, note, ...entry }) => ({
        ...entry,
        query: query.slice(0, 100),
        hits: hits.length,
      }))
      return { count: entries.length, entries: shown }
    },
    recall(input: { name: string }, ctx) {
      return new Library(ctx.dataDir).recall(input.name)
    },
    async forget(input: { name: string }, ctx) {
      return { name: input.name, forgotten: await new Library(ctx.dataDir).forget(input.name) }
    },
    plan(input, ctx) {
      return plan(input, ctx.id, ctx.roots)
    },
  },
} satisfies NexusModule

function settingsOf(ctx: ActionContext): Settings {
  return changed ?? ctx.config
}
