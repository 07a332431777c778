import { join } from 'node:path'
import type { ActionContext, NexusModule } from 'aeon-nexus/module'
import { draw, type ScaffoldRequest } from './blueprint.ts'
import { type Files, install, render } from './files.ts'
import { type Inspection, inspect } from './inspect.ts'
import { findPlace, placeFor, put } from './place.ts'
import { plan } from './plan.ts'
import { forgedReport, inspectionReport } from './report.ts'

interface Settings {
  readonly group: string
  readonly forged_max: number
  readonly test_ms: number
}

/** A setting changed while running replaces the ones the instance started with. */
let changed: Settings | undefined

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  md: 'text/markdown',
  json: 'application/json',
  ts: 'text/plain',
}

/** Makes modules that work, and proves it. */
export default {
  configure(_ctx, change) {
    changed = change.config as unknown as Settings
    return 'applied'
  },
  actions: {
    async scaffold(input: ScaffoldRequest & { target_dir?: string; verify?: boolean }, ctx) {
      const files = render(draw(input))
      const path = placeFor(ctx.dataDir, input.id, input.target_dir)
      const forged = join(ctx.dataDir, input.target_dir ?? 'forged')
      const created = await put(path, files, forged, settingsOf(ctx).forged_max)
      const artifacts = await keepFiles(input.id, path, files, created, ctx)
      const answer = {
        summary: `${input.id} ${created ? 'was written to' : 'was there already, at'} ${path}.`,
        id: input.id,
        path,
        files: [...files].map(([name, content]) => ({ name, bytes: Buffer.byteLength(content) })),
        created,
        install: install(input.id, path),
        artifacts,
      }
      if (input.verify !== true) return answer
      const found = await verify(path, ctx)
      return {
        ...answer,
        summary: `${answer.summary} ${found.summary}`,
        checks: found.checks,
        artifacts: [...artifacts, ...found.artifacts],
      }
    },
    async inspect(input: { path: string }, ctx) {
      return verify(await findPlace(ctx.dataDir, input.path), ctx)
    },
    preview(input: ScaffoldRequest) {
      const files = render(draw(input))
      return { id: input.id, names: [...files.keys()], files: Object.fromEntries(files) }
    },
    plan(input, ctx) {
      return plan(input, ctx.id, ctx.dataDir, settingsOf(ctx).group)
    },
  },
} satisfies NexusModule

/** Inspects, keeps the report, and fails when a check does: a mission that made something broken did not succeed. */
async function verify(path: string, ctx: ActionContext) {
  const found: Inspection = await inspect(path, settingsOf(ctx).test_ms, ctx)
  await ctx.artifact('inspection.md', inspectionReport(found), 'text/markdown')
  const failed = found.checks.filter(({ ok }) => !ok)
  if (failed.length > 0) {
    const details = failed.map(({ check, detail }) => `${check}: ${detail}`).join('; ')
    throw new Error(
      `${found.id} failed ${failed.length} of ${found.checks.length} checks: ${details}`.slice(0, 2_000),
    )
  }
  const summary = `All ${found.checks.length} checks of ${found.id} passed, its self-tests three times each.`
  return { summary, id: found.id, path, checks: found.checks, artifacts: ['inspection.md'] }
}

async function keepFiles(
  id: string,
  path: string,
  files: Files,
  created: boolean,
  ctx: ActionContext,
): Promise<string[]> {
  const all = new Map([['forged.md', forgedReport(id, path, files, created)], ...files])
  for (const [name, content] of all) {
    await ctx.artifact(name, content, MEDIA_TYPES[name.slice(name.lastIndexOf('.') + 1)])
  }
  return [...all.keys()]
}

function settingsOf(ctx: ActionContext): Settings {
  return changed ?? ctx.config
}
