import { createHash } from 'node:crypto'
import type { NexusModule } from 'aeon-nexus/module'
import { describePath, type ListRequest, list } from './list.ts'
import { hashFile, type ReadRequest, read } from './read.ts'
import type { Settings } from './settings.ts'
import { removeOldDrafts, type WriteRequest, write } from './write.ts'

/** A setting changed while running replaces the ones the instance started with. */
let changed: Settings | undefined

/** Files, within what the operator allows. */
export default {
  async start(ctx) {
    await removeOldDrafts(ctx.dataDir, Date.now())
  },
  configure(_ctx, change) {
    changed = change.config as unknown as Settings
    return 'applied'
  },
  actions: {
    read(input: ReadRequest, ctx) {
      const { read_bytes_max: bytesMax }: Settings = changed ?? ctx.config
      return read(input, bytesMax, ctx)
    },
    write(input: WriteRequest, ctx) {
      return write(input, changed ?? ctx.config, ctx)
    },
    list(input: ListRequest, ctx) {
      return list(input, ctx, ctx.signal)
    },
    hash(input: { path?: string; text?: string }, ctx) {
      if (input.path !== undefined) return hashFile(input.path, ctx, ctx)
      const bytes = Buffer.from(input.text ?? '')
      return { sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length }
    },
    stat(input: { path: string }, ctx) {
      return describePath(input.path, ctx)
    },
  },
} satisfies NexusModule
