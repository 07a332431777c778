import { judgeManifest } from '../../daemon/catalog/manifest-rules.ts'
import { type Manifest, ManifestSchema } from '../../daemon/contracts/manifest.ts'
import type { NexusModule } from '../../daemon/contracts/module.ts'
import { checker, foreignChecker, sentenceOf } from '../../daemon/kit/schema.ts'
import { type FakeContext, readManifest } from './module-context.ts'

const checkManifest = checker<Manifest>(ManifestSchema, { defaults: true })

/** What the daemon would say against the manifest of a module of ours; nothing when it would take it. */
export function manifestFaults(id: string): string[] {
  const checked = checkManifest(readManifest(id))
  const issues = checked.ok ? judgeManifest(id, checked.value) : checked.issues
  return issues.map((issue) => sentenceOf([issue]))
}

/**
 * Calls an action as the daemon does: the input is checked against its schema first, the output after.
 *
 * @throws Error naming what does not fit.
 */
export async function call(
  module: NexusModule,
  ctx: FakeContext,
  action: string,
  input: unknown,
): Promise<Record<string, unknown>> {
  const spec = manifestOf(ctx.id).actions[action]
  const run = module.actions?.[action]
  if (spec === undefined || run === undefined) throw new Error(`${ctx.id} has no action ${action}`)
  expectShape(spec.input, input, `input of ${action}`)
  const output = await run(input, ctx)
  expectShape(spec.output, output, `output of ${action}`)
  return output as Record<string, unknown>
}

/** Runs the self-tests of the manifest; each that fails as a sentence. */
export async function failedSelfTests(module: NexusModule, ctx: FakeContext): Promise<string[]> {
  const failed: string[] = []
  for (const { action, input, expect } of manifestOf(ctx.id).self_test) {
    const output = await call(module, ctx, action, input)
    if (!contains(output, expect)) failed.push(`${action} answered ${JSON.stringify(output)}`)
  }
  return failed
}

function manifestOf(id: string): Manifest {
  const checked = checkManifest(readManifest(id))
  if (!checked.ok) throw new Error(sentenceOf(checked.issues))
  return checked.value
}

function expectShape(schema: object | undefined, value: unknown, what: string): void {
  if (schema === undefined) return
  const checked = foreignChecker(schema)(value)
  if (!checked.ok) throw new Error(`${what}: ${sentenceOf(checked.issues)}`)
}

function contains(value: unknown, part: unknown): boolean {
  if (typeof part !== 'object' || part === null) return part === undefined || Object.is(value, part)
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(part) && (!Array.isArray(value) || value.length !== part.length)) return false
  return Object.entries(part).every(([key, inner]) =>
    contains((value as Record<string, unknown>)[key], inner),
  )
}
