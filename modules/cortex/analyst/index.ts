import type { NexusModule } from 'aeon-nexus/module'
import { type AnalyseRequest, analyse, profile } from './analyse.ts'
import { analyseMissions } from './missions.ts'
import { plan } from './plan.ts'
import type { Settings } from './settings.ts'

/** A setting changed while running replaces the ones the instance started with. */
let changed: Settings | undefined

/** Finds out what converts: in a file, in given records, or in the daemon's own missions. */
export default {
  configure(_ctx, change) {
    changed = change.config as unknown as Settings
    return 'applied'
  },
  actions: {
    analyse(input: AnalyseRequest, ctx) {
      const settings: Settings = changed ?? ctx.config
      const given = input.path !== undefined || input.records !== undefined
      return given ? analyse(input, settings, ctx) : analyseMissions(settings, ctx, input.artifacts !== false)
    },
    profile(input: AnalyseRequest, ctx) {
      return profile(input, changed ?? ctx.config, ctx)
    },
    plan(input, ctx) {
      return plan(input, ctx.id, ctx.roots)
    },
  },
} satisfies NexusModule
