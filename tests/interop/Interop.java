/* Compiled and run by test_hapi.py against HAPI HL7v2 (https://hapifhir.github.io/hapi-hl7v2/). */
import ca.uhn.hl7v2.AcknowledgmentCode;
import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.HL7Exception;
import ca.uhn.hl7v2.HapiContext;
import ca.uhn.hl7v2.app.Connection;
import ca.uhn.hl7v2.app.HL7Service;
import ca.uhn.hl7v2.llp.MinLowerLayerProtocol;
import ca.uhn.hl7v2.model.Message;
import ca.uhn.hl7v2.protocol.ReceivingApplication;
import ca.uhn.hl7v2.util.Terser;
import ca.uhn.hl7v2.util.idgenerator.InMemoryIDGenerator;
import ca.uhn.hl7v2.validation.impl.ValidationContextFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.Map;

/** HAPI HL7v2 as a sender and as a receiver: Interop send HOST PORT FILE... | Interop receive PORT. */
public class Interop {
    public static void main(String[] argv) throws Exception {
        HapiContext context = new DefaultHapiContext();
        // Otherwise it keeps its numbers in a file in the folder where it runs.
        context.getParserConfiguration().setIdGenerator(new InMemoryIDGenerator());
        context.setValidationContext(ValidationContextFactory.noValidation());
        // The bytes on the wire are of the character set that MSH-18 names.
        context.setLowerLayerProtocol(new MinLowerLayerProtocol(true));
        if (argv[0].equals("send")) {
            send(context, argv);
        } else {
            receive(context, Integer.parseInt(argv[1]));
        }
    }

    /** Send each file (UTF-8) over one connection and print MSA-1, MSA-2 and ERR-3.1 of its answer. */
    static void send(HapiContext context, String[] argv) throws Exception {
        Connection connection = context.newClient(argv[1], Integer.parseInt(argv[2]), false);
        connection.getInitiator().setTimeoutMillis(120_000);
        for (int n = 3; n < argv.length; n++) {
            String text = Files.readString(Path.of(argv[n]), StandardCharsets.UTF_8);
            Message message = context.getPipeParser().parse(text);
            Terser answer = new Terser(connection.getInitiator().sendAndReceive(message));
            String error = answer.get("/ERR-3-1");
            System.out.println(answer.get("/MSA-1") + " " + answer.get("/MSA-2") + " " + (error == null ? "-" : error));
        }
        connection.close();
        context.close();
    }

    /** Print each message that comes (UTF-8 in base64) and acknowledge it: MSH-10 says how, where it begins with a code. */
    static void receive(HapiContext context, int port) throws Exception {
        HL7Service server = context.newServer(port, false);
        server.registerApplication("*", "*", new ReceivingApplication<Message>() {
            @Override
            public boolean canProcess(Message message) {
                return true;
            }

            @Override
            public Message processMessage(Message message, Map<String, Object> metadata) {
                return answered(message);
            }
        });
        server.startAndWait();
        System.out.println("ready");
        System.in.read();
        server.stopAndWait();
        context.close();
        System.exit(0);
    }

    static synchronized Message answered(Message message) {
        try {
            System.out.println(Base64.getEncoder().encodeToString(message.encode().getBytes(StandardCharsets.UTF_8)));
            String id = new Terser(message).get("/MSH-10");
            String code = id.startsWith("AE") || id.startsWith("AR") ? id.substring(0, 2) : "AA";
            HL7Exception why = code.equals("AA") ? null : new HL7Exception("not wanted here");
            return message.generateACK(AcknowledgmentCode.valueOf(code), why);
        } catch (Exception problem) {
            throw new IllegalStateException(problem);
        }
    }
}
