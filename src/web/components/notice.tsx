/** Short messages at the edge of the page: something was done, or was refused. */
import { notifications } from '@mantine/notifications'
import { sentenceOf } from './sentence.ts'

export function tellDone(message: string): void {
  notifications.show({ message, color: 'teal', autoClose: 4000 })
}

export function tellError(title: string, error: unknown): void {
  notifications.show({ title, message: sentenceOf(error), color: 'red', autoClose: 10_000 })
}
