import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Reads framed Avro records from one topic as Java values, and writes each of them to another.
 *
 * Arguments: brokers, topic to read, topic to write, how many records, folder of ID.avsc files.
 * A line of standard output for each record that has a cost: ID, cost, time, header ce_id.
 */
class Echo {
    static final GenericData DATA = new GenericData();

    public static void main(String[] arguments) throws Exception {
        DATA.addLogicalTypeConversion(new Conversions.DecimalConversion());
        DATA.addLogicalTypeConversion(new TimeConversions.TimestampMicrosConversion());
        Map<String, Object> brokers = Map.of("bootstrap.servers", arguments[0]);
        int wanted = Integer.parseInt(arguments[3]);
        try (var consumer = new KafkaConsumer<>(brokers, new ByteArrayDeserializer(), new ByteArrayDeserializer());
                var producer = new KafkaProducer<>(brokers, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(arguments[1]).stream()
                    .map(each -> new TopicPartition(each.topic(), each.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            for (int read = 0; read < wanted; ) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    byte[] value = echo(record, Path.of(arguments[4]));
                    producer.send(new ProducerRecord<>(arguments[2], record.key(), value)).get();
                    read++;
                }
            }
        }
    }

    static byte[] echo(ConsumerRecord<byte[], byte[]> record, Path schemas) throws Exception {
        ByteBuffer value = ByteBuffer.wrap(record.value());
        if (value.get() != 0) {
            throw new IllegalArgumentException("not framed");
        }
        int id = value.getInt();
        Schema schema = new Schema.Parser().parse(schemas.resolve(id + ".avsc").toFile());
        var decoder = DecoderFactory.get().binaryDecoder(value.array(), value.position(), value.remaining(), null);
        GenericRecord read = new GenericDatumReader<GenericRecord>(schema, schema, DATA).read(null, decoder);
        if (schema.getField("cost_usd") != null) {
            var cost = (BigDecimal) read.get("cost_usd");
            var at = (Instant) read.get("occurred_at");
            var header = new String(record.headers().lastHeader("ce_id").value());
            System.out.println(String.join(" ", String.valueOf(id), cost.toPlainString(), at.toString(), header));
        }
        var written = new ByteArrayOutputStream();
        var frame = new DataOutputStream(written);
        frame.writeByte(0);
        frame.writeInt(id);
        var encoder = EncoderFactory.get().binaryEncoder(written, null);
        new GenericDatumWriter<GenericRecord>(schema, DATA).write(read, encoder);
        encoder.flush();
        return written.toByteArray();
    }
}
