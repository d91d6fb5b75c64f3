package sapwood.sample

import androidx.compose.foundation.clickable
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.layout.safeDrawingPadding
import androidx.compose.foundation.lazy.LazyColumn
import androidx.compose.foundation.lazy.items
import androidx.compose.material3.AlertDialog
import androidx.compose.material3.Button
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedTextField
import androidx.compose.material3.Text
import androidx.compose.material3.TextButton
import androidx.compose.runtime.Composable
import androidx.compose.runtime.getValue
import androidx.compose.ui.Modifier
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.unit.dp
import androidx.lifecycle.compose.collectAsStateWithLifecycle
import sapwood.AdapterInfo
import sapwood.Consent
import sapwood.LearnerException
import sapwood.Sample
import sapwood.Signal

/** How [MailModel] looks. */
@Composable
fun MailScreen(model: MailModel) {
    val state by model.state.collectAsStateWithLifecycle()
    val memory = state.memory
    val mail = state.mail
    Column(Modifier.fillMaxSize().safeDrawingPadding().padding(16.dp)) {
        when {
            memory != null -> MemoryPage(memory, model)
            mail != null -> ReplyPage(mail, state, model)
            else -> InboxPage(state.inbox, model)
        }
    }
    if (state.consent == Consent.UNASKED) ConsentDialog(model)
    state.problem?.let { ProblemDialog(it, model) }
}

@Composable
private fun InboxPage(inbox: List<Mail>, model: MailModel) {
    TextButton(onClick = { model.showMemory() }) { Text(stringResource(R.string.memory)) }
    LazyColumn {
        items(inbox) { mail ->
            Column(Modifier.fillMaxWidth().clickable { model.open(mail) }.padding(12.dp)) {
                Text(mail.from, style = MaterialTheme.typography.titleMedium)
                Text(mail.text)
            }
        }
    }
}

@Composable
private fun ReplyPage(mail: Mail, state: MailState, model: MailModel) {
    Text(mail.from, style = MaterialTheme.typography.titleMedium)
    Text(mail.text)
    OutlinedTextField(
        value = state.draft,
        onValueChange = { model.edit(it) },
        modifier = Modifier.fillMaxWidth().padding(12.dp),
        readOnly = state.writing,
    )
    Row(horizontalArrangement = Arrangement.spacedBy(8.dp)) {
        if (state.writing) {
            Button(onClick = { model.stop() }) { Text(stringResource(R.string.stop)) }
        } else {
            val suggest = if (state.draft.isEmpty()) R.string.suggest else R.string.another
            Button(onClick = { model.suggest() }) { Text(stringResource(suggest)) }
            Button(onClick = { model.send() }, enabled = state.draft.isNotBlank()) {
                Text(stringResource(R.string.send))
            }
        }
        TextButton(onClick = { model.leave() }) { Text(stringResource(R.string.back)) }
    }
    state.suggestion?.let { reply ->
        val by = reply.adapter?.take(8) ?: stringResource(R.string.base)
        Text(stringResource(R.string.made_by, by, reply.retrieved.toInt()))
    }
}

/** What was kept and what was learned, and the way to make it forgotten. */
@Composable
private fun MemoryPage(memory: Memory, model: MailModel) {
    Row(horizontalArrangement = Arrangement.spacedBy(8.dp)) {
        TextButton(onClick = { model.hideMemory() }) { Text(stringResource(R.string.back)) }
        TextButton(onClick = { model.forgetAll() }) { Text(stringResource(R.string.forget_all)) }
    }
    LazyColumn {
        items(memory.adapters) { AdapterRow(it) }
        items(memory.samples) { sample -> SampleRow(sample) { model.forget(sample) } }
    }
}

@Composable
private fun AdapterRow(adapter: AdapterInfo) {
    val used = if (adapter.inForce) stringResource(R.string.in_force) else adapter.state.name
    Text(stringResource(R.string.adapter, adapter.number.toInt(), adapter.examples.toInt(), used))
}

@Composable
private fun SampleRow(sample: Sample, onForget: () -> Unit) {
    Row(Modifier.fillMaxWidth().padding(12.dp)) {
        Column(Modifier.weight(1f)) {
            Text(sample.prompt.lastOrNull()?.content.orEmpty())
            val edited = sample.signals.filterIsInstance<Signal.Edited>().lastOrNull()
            Text(edited?.text ?: sample.reply, style = MaterialTheme.typography.titleMedium)
        }
        TextButton(onClick = onForget) { Text(stringResource(R.string.forget)) }
    }
}

@Composable
private fun ConsentDialog(model: MailModel) = AlertDialog(
    onDismissRequest = {},
    confirmButton = {
        TextButton(onClick = { model.agree(true) }) { Text(stringResource(R.string.agree)) }
    },
    dismissButton = {
        TextButton(onClick = { model.agree(false) }) { Text(stringResource(R.string.refuse)) }
    },
    text = { Text(stringResource(R.string.consent)) },
)

@Composable
private fun ProblemDialog(problem: LearnerException, model: MailModel) {
    val text = when (problem) {
        is LearnerException.TooLong -> R.string.too_long
        is LearnerException.Storage -> R.string.disk_full
        is LearnerException.Key -> R.string.key_lost
        else -> R.string.failed
    }
    AlertDialog(
        onDismissRequest = { model.dismiss() },
        confirmButton = {
            if (problem is LearnerException.Key) {
                TextButton(onClick = { model.forgetAll() }) {
                    Text(stringResource(R.string.forget_all))
                }
            } else {
                TextButton(onClick = { model.dismiss() }) { Text(stringResource(R.string.back)) }
            }
        },
        text = { Text(stringResource(text)) },
    )
}
