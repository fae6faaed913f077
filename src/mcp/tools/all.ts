/** Every tool. */
import type { Tool } from '../tool.ts'
import { catalogueTools } from './catalogue.ts'
import { commandTools } from './commands.ts'
import { createInstance } from './create.ts'
import { editFile } from './edit.ts'
import { execCommand } from './exec.ts'
import { fileTools } from './files.ts'
import { instanceTools } from './instances.ts'
import { lifecycleTools } from './lifecycle.ts'
import { marketTools } from './market.ts'
import { observeTools } from './observe.ts'
import { snapshotTools } from './snapshots.ts'

export const ALL_TOOLS: readonly Tool[] = [...catalogueTools, ...commandTools, createInstance, editFile, execCommand, ...fileTools, ...instanceTools, ...lifecycleTools, ...marketTools, ...observeTools, ...snapshotTools]
