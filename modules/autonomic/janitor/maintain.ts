import type { ActionContext } from 'aeon-nexus/module'

interface MaintainRequest {
  readonly task: string
  readonly maintenance_id: string
}

type Answer =
  | { readonly done: false }
  | { readonly done: true; readonly result: Readonly<Record<string, unknown>> }

/** Has the daemon do one task of its upkeep. It answers within minutes whether it is done, so it is asked until it is. */
export async function maintain(
  { task, maintenance_id }: MaintainRequest,
  ctx: ActionContext,
): Promise<object> {
  for (;;) {
    ctx.signal.throwIfAborted()
    const answer = (await ctx.nexus.command('maintain', { task, maintenance_id })) as Answer
    if (answer.done) return { summary: say(task, answer.result), task, result: answer.result }
  }
}

function say(task: string, result: Readonly<Record<string, unknown>>): string {
  const plain = Object.entries(result).filter(([, value]) => typeof value !== 'object' || value === null)
  const figures = plain.map(([name, value]) => `${name.replaceAll('_', ' ')} ${String(value)}`)
  return figures.length === 0
    ? `The task ${task} is done.`
    : `The task ${task} is done: ${figures.join(', ')}.`
}
